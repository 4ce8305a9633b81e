"""A project's bare cache: fetches from servers, and publishes to them by compare-and-swap.

Deleting it at any time costs a fetch, nothing else; a broken one is made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataops_dagster import clock, process
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import cache_folder, usable
from dataops_dagster.git import (
    NETWORK_SECONDS,
    Access,
    HardenedGit,
    branch_ref,
)
from dataops_dagster.objects import Objects
from dataops_dagster.remotes import NotInPart, Remote, Wanted, command
from dataops_dagster.settings import Project

ATTRIBUTES = (
    "* !merge !conflict-marker-size !diff !filter !ident !text !eol !crlf"
    " !working-tree-encoding !export-ignore !export-subst\n"
)
"""Attributes inside a repository may not change a merge (merge=union defeats -X theirs) or an
export; these lines, in `info/attributes`, outrank them."""

_REASON_LINES = 10
# git lets a branch point to commits only.
_OWN_REFS, _PARTIAL_REFS = "refs/heads/dataops", "refs/heads/dataops-partial"

_HAVES = 256
"""How many commits of a branch as last fetched a server is told of: one of them it will know."""

_MANY_BLOBS = 20_000
"""More contents than this are not asked for one by one."""

_OUTDATED_SECONDS = 2 * NETWORK_SECONDS

_SAMPLE, _LOOSE_IN_SAMPLE, _PACKS = "17", 27, 50

_MOVED = re.compile(
    r"stale info|non-fast-forward|fetch first|already exists|cannot lock ref"
    r"|failed to (update|lock)|incorrect old value|atomic transaction failed"
)
_LOCK = re.compile(r"Unable to create '([^']+\.lock)': File exists")
# What git says of a cache that a crash or a disk left broken, or locked by a process that is gone.
_BROKEN = re.compile(
    r"not a git repository: |\.lock': File exists|object file \S+ is empty|is corrupt"
    r"|bad object|not a valid commit name|unable to read (tree|sha1 file)"
    r"|did not receive expected object"
    r"|packfile \S+ (cannot be accessed|index unavailable)|missing (blob|tree|commit)"
    r"|could not read [0-9a-f]{40}|failed to traverse parents|cannot read commit object"
    r"|object of unexpected type|unresolved deltas left|failed to unpack tree object"
    r"|bad config line|unexpected line in",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class PushRejected:
    """The server did not take the push; `moved` says that the branch is not where it was."""

    reason: str
    moved: bool

    @property
    def lock(self) -> str:
        """The server's file that stood in the way; empty if none did."""
        found = _LOCK.search(self.reason)
        return found[1] if found else ""


class CacheBroken(ToolError):  # noqa: N818  # its name is what happened
    """The cache was broken; a new one is in its place. `original` is the error if it was not that."""

    def __init__(self, error: ToolError, folder: Path) -> None:
        hint = f"the cache {folder} was broken and is made anew"
        super().__init__(error.command, error.code, error.tail, retryable=True, hint=hint)
        self.original = error


class Store(Objects):
    """A bare cache of one project's repositories: what they share is fetched once."""

    def __init__(self, root: Path, project: str, seconds: float = NETWORK_SECONDS) -> None:
        """Take the cache below `root`; a fetch, and waiting for another's, may take `seconds`."""
        self.folder = root / f"{project}.git"
        self.seconds = seconds
        self.made = 0  # how often we made the cache anew: what was in it is gone then
        self._file_lock = FileLock(f"{self.folder}.lock", timeout=seconds)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with usable(self.folder):
            try:
                with self._file_lock:
                    yield
            except Timeout:
                raise ToolError(
                    f"waiting for {self._file_lock.lock_file}",
                    None,
                    f"another process fetched for longer than {self.seconds:g} s",
                    retryable=True,
                ) from None

    @cached_property
    def _command(self) -> HardenedGit:
        if not (self.folder / "HEAD").exists():
            with usable(self.folder.parent):
                self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked():
                if not (self.folder / "HEAD").exists():
                    self._make()
        git = HardenedGit()
        git.update_environment(GIT_DIR=str(self.folder))
        return git

    def _make(self) -> None:
        """Make the cache aside and move it into place whole: a crash leaves no half of it."""
        for leftover in self.folder.parent.glob("making-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="making-"))
        HardenedGit().command("init", "--quiet", "--bare", "--template=", str(fresh))
        (fresh / "info").mkdir(exist_ok=True)
        (fresh / "info" / "attributes").write_text(ATTRIBUTES)
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)
        self.made += 1

    def git(self, *arguments: str, **options: Any) -> process.Completed:
        """Run git in the cache; one that turns out broken is made anew, for the next attempt."""
        if options.get("lazy") and not self.is_partial:
            # Nothing can be missing, so nobody needs to reach a server.
            options |= {"lazy": False, "access": None}
        try:
            return self._command.command(*arguments, **options)
        except ToolError as error:
            if not _BROKEN.search(error.tail):
                raise
            with self._locked():
                self._make()
            raise CacheBroken(error, self.folder) from None

    @property
    def is_partial(self) -> bool:
        """Say whether the contents of some files were left out when they were not needed."""
        return any((self.folder / "objects" / "pack").glob("*.promisor"))

    # --- fetching -----------------------------------------------------------------------------

    def fetch(
        self, access: Access, branch: str, commit: str, *, without_blobs: bool = False
    ) -> None:
        """Bring a commit of a workspace's branch into the cache, with its history.

        A first fetch may leave out the contents of files (see `complete`).
        """
        if self.unfetched(commit):
            self.bring(access, branch, commit, without_blobs=without_blobs)

    def bring(
        self, access: Access, branch: str, commit: str, *, without_blobs: bool = False
    ) -> None:
        """Fetch a commit of a workspace's branch, also when it is here."""
        wanted = Wanted([commit], branch, without_blobs=without_blobs)
        ref = self._ref(access, branch)
        try:
            self._fetch(access, wanted, ref)
        except CacheBroken:
            try:
                self._fetch(access, wanted, ref)  # into a new one
            except CacheBroken as error:  # so it was what the server sent
                raise error.original from None

    def unfetched(self, *commits: str) -> list[str]:
        """Return those of the commits that no fetch brought and found nothing wrong with.

        An object may also be there because a fetch that was refused left it.
        """
        try:
            with ThreadPoolExecutor(max(1, len(commits))) as pool:
                reached = list(pool.map(self._is_reached, commits))
        except CacheBroken:
            return list(commits)
        return [commit for commit, there in zip(commits, reached, strict=True) if not there]

    def _is_reached(self, commit: str) -> bool:
        found = self.git(
            *("for-each-ref", "--count=1", f"--contains={commit}", _OWN_REFS), allow=(0, 128, 129)
        )
        return bool(found.stdout)

    def _ref(self, access: Access, branch: str) -> str:
        # Flat: a branch `a` may have become a folder of branches, `a/b`.
        origin = hashlib.sha256(f"{access.url} {branch}".encode()).hexdigest()[:32]
        return f"{_OWN_REFS}/{origin}"

    def fetch_tags(self, access: Access, prefix: str) -> None:
        """Bring the tags below `prefix` into the cache, and drop those that are gone."""
        with self._locked():
            command.fetch(
                self.git,
                access,
                f"+{prefix}/*:{prefix}/*",
                "--prune",
                partial=self.is_partial,
                seconds=self.seconds,
            )

    def complete_files(self, access: Access, commit: str) -> None:
        """Bring the contents of a commit's files that a partial cache lacks."""
        if self.is_partial:
            self._complete(access, commit, "--no-walk")

    def complete(self, access: Access, tip: str, *, base: str | None) -> None:
        """Bring contents that a partial cache lacks: all that `tip` has and `base`'s history not."""
        left_out = self._left_out(base) if self.is_partial else []
        if not left_out:
            return
        self._complete(access, tip, *([f"^{base}"] if base else []))
        if base:
            # What is still left out is older than `base`, and so are all later bases.
            for ref in left_out:
                self.git("update-ref", ref, base)

    def _complete(self, access: Access, tip: str, *limits: str) -> None:
        listed = self.text("rev-list", "--objects", "--missing=print", tip, *limits)
        missing = [line[1:] for line in listed.split("\n") if line.startswith("?")]
        if missing:
            wanted = Wanted([tip] if len(missing) > _MANY_BLOBS else missing)
            with self._locked():
                self._remote(access).fetch(
                    self.git, wanted, partial=self.is_partial, seconds=self.seconds
                )

    def _left_out(self, base: str | None) -> list[str]:
        """Return the refs that keep where contents were left out, unless `base` contains it."""
        limits = [f"--no-merged={base}"] if base else []
        return self.text("for-each-ref", "--format=%(refname)", *limits, _PARTIAL_REFS).split()

    def _fetch(self, access: Access, wanted: Wanted, ref: str) -> None:
        """Bring a branch's tip, and keep it by `ref`."""
        with self._locked():
            self._sweep(everywhere=False)  # what is small and far apart goes when we pack
            try:
                self._receive(access, wanted, ref)
            except NotInPart:
                self._make()
                self._whole.touch()
                self._receive(access, wanted, ref)
            except ToolError:
                self._sweep()
                raise
            self._keep(ref, wanted, access)
            self._tidy(access)

    def _receive(self, access: Access, wanted: Wanted, ref: str) -> None:
        with ThreadPoolExecutor(1) as beside:
            asking = beside.submit(self._before, ref)  # its own server may lack others' tips
            tips = self._tips()
            before = asking.result()
        # What is new on a branch that we know is needed whole: it will be pushed on.
        partly = wanted.without_blobs and ref not in tips and not self._whole.exists()
        # Whatever a ref says: what is asked for is not here.
        if tips and not before:  # fetched from it for the first time
            before = self._before(f"{_OWN_REFS}/")
        haves = [id_ for id_ in dict.fromkeys([*tips.values(), *before]) if id_ not in wanted.ids]
        asked = dataclasses.replace(wanted, haves=haves, without_blobs=partly)
        self._remote(access).fetch(self.git, asked, partial=self.is_partial, seconds=self.seconds)
        if partly:
            self._prove_history(access, wanted)
            self._keep(ref.replace(_OWN_REFS, _PARTIAL_REFS), wanted, access)

    def _prove_history(self, access: Access, wanted: Wanted) -> None:
        """Refuse a first fetch that lacks more than contents: git does not check the links then."""
        try:
            self._command.command(
                *("rev-list", "--objects", "--filter=blob:none", "--quiet", *wanted.ids),
                seconds=self.seconds,
            )
        except ToolError as error:
            self._make()
            what = f"fetching from {access.where}"
            raise ToolError(what, None, error.tail, retryable=True) from None

    @property
    def _whole(self) -> Path:
        """What tells that nothing may be left out of this cache."""
        return self.folder / "whole"

    def _keep(self, ref: str, wanted: Wanted, access: Access) -> None:
        (tip,) = wanted.ids
        try:
            self.git("update-ref", ref, tip)
        except ToolError as error:
            what = f"fetching from {access.where}"
            if "nonexistent object" in error.tail:
                problem = f"{wanted.branch} no longer contains {tip}"
                raise ToolError(what, None, problem, retryable=True) from None
            if "non-commit object" in error.tail:
                problem, hint = f"{wanted.branch} points to no commit", "mend the branch there"
                raise ToolError(what, None, problem, hint=hint) from None
            raise

    def _tidy(self, access: Access) -> None:
        """Pack what many fetches left, and index a long history, where that speeds up every look."""
        objects = self.folder / "objects"
        # git's own measure: one of 256 folders tells of all of them.
        loose, packs = objects / _SAMPLE, list((objects / "pack").glob("*.pack"))
        many = loose.is_dir() and len(list(loose.iterdir())) > _LOOSE_IN_SAMPLE
        indexed = (objects / "info" / "commit-graph").exists()
        try:
            if many or len(packs) > _PACKS:
                # Packing a partial cache stops at what is missing, unless that may be asked for.
                self.git("gc", "--quiet", seconds=self.seconds, access=access, lazy=True)
                self._sweep()
            elif packs and not indexed:
                self.git("commit-graph", "write", "--reachable", seconds=self.seconds)
        except ToolError:
            self._sweep()  # the next fetch tries again

    def _sweep(self, *, everywhere: bool = True) -> None:
        """Remove what git commands that failed left behind, and writers that were killed."""
        objects = self.folder / "objects"
        packs = objects / "pack"
        for leftover in (*packs.glob("tmp_*"), *packs.glob(".tmp-*")):
            leftover.unlink(missing_ok=True)
        # Others may write single objects while we fetch; but nobody does for that long.
        oldest = clock.now().timestamp() - _OUTDATED_SECONDS
        for draft in (*objects.glob("obj*"), *(objects.glob("??/tmp_obj_*") if everywhere else ())):
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < oldest:
                    draft.unlink()

    def _remote(self, access: Access) -> Remote:
        return Remote(access, str(self.folder))

    def _tips(self) -> dict[str, str]:
        """Return the tips of branches as last fetched, by the refs that keep them."""
        listed = self.text("for-each-ref", "--format=%(refname) %(objectname)", _OWN_REFS)
        return dict(line.split(" ") for line in listed.split("\n") if line)

    def _before(self, refs: str) -> list[str]:
        """Return ids whose history we have: what the refs that begin so were, up to the last fetch."""
        # A pattern is no error when nothing is there.
        options = ("--first-parent", f"--max-count={_HAVES}", f"--glob={refs}*")
        # We hold the lock, and another thread could not heal the cache; `_tips` does.
        return self._command.command("rev-list", *options, allow=(0, 128)).stdout.decode().split()

    # --- writing to the server ----------------------------------------------------------------

    def publish(
        self, access: Access, branch: str, *, base: str | None, commit: str, tags: dict[str, str]
    ) -> PushRejected | None:
        """Move the branch from `base` to `commit` and record `tags` (name to id), or nothing.

        A compare-and-swap: the lease names the one head for which the push may happen, and
        `commit` descends from it, so the branch only ever moves forward.
        """
        ref = branch_ref(branch)
        updates: dict[str, tuple[str | None, str]] = {ref: (base, commit)}
        updates |= {f"refs/tags/{name}": (None, id_) for name, id_ in tags.items()}
        report = self._remote(access).push(
            self.git,
            updates,
            has=[base] if base else [],
            seconds=NETWORK_SECONDS,
            # What is refused is kept, too: it is whole, and the next fetch puts the server's head there.
            meanwhile=partial(self._keep_own, self._ref(access, branch), commit),
        )
        if not report.refused:
            return None
        if report.refused.keys() < updates.keys():
            moved_refs = ", ".join(sorted(updates.keys() - report.refused.keys()))
            raise ToolError(
                f"publishing to {access.where}",
                None,
                f"the server moved {moved_refs} and refused the rest, though asked for all or none",
                hint="show it what is hidden from pushes (receive.hideRefs), and compare the two",
            )
        reasons = list(dict.fromkeys(report.refused.values()))
        said = report.said[:_REASON_LINES]
        moved = any(_MOVED.search(reason) for reason in reasons)
        return PushRejected("; ".join([*reasons, *said]), moved)

    def _keep_own(self, ref: str, commit: str) -> None:
        with contextlib.suppress(ToolError):  # the next fetch keeps it
            self.git("update-ref", ref, commit)


def store_of(project: Project, seconds: float = NETWORK_SECONDS) -> Store:
    """Return a project's cache on this machine; a fetch into it may take `seconds`."""
    return Store(cache_folder(), project.name, seconds)
