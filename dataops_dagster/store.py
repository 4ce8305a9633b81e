"""What reaches servers: fetches into a project's cache, and publishes by compare-and-swap."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dataops_dagster import process
from dataops_dagster.cache import LOCK, PAUSE_SECONDS, Cache, CacheBroken
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import cache_folder
from dataops_dagster.git import (
    NETWORK_SECONDS,
    Access,
    branch_ref,
)
from dataops_dagster.remotes import NotInPart, Remote, Wanted, command
from dataops_dagster.settings import Project

_REASON_LINES = 10
# git lets a branch point to commits only.
_OWN_REFS, _PARTIAL_REFS = "refs/heads/dataops", "refs/heads/dataops-partial"

_HAVES = 256
"""How many commits of a branch as last fetched a server is told of: one of them it will know."""

_MANY_BLOBS = 20_000
"""More contents than this are not asked for one by one."""

_BUSY_SECONDS = 2 * process.GRACE_SECONDS
"""How long a lock in a server's repository may be in the way: who ends what was killed takes less."""

_MOVED = re.compile(
    r"stale info|non-fast-forward|fetch first|already exists|cannot lock ref"
    r"|failed to (update|lock)|incorrect old value|atomic transaction failed"
)


@dataclass(frozen=True)
class PushRejected:
    """The server did not take the push; `moved` says that the branch is not where it was."""

    reason: str
    moved: bool

    @property
    def lock(self) -> str:
        """The server's file that stood in the way; empty if none did."""
        found = LOCK.search(self.reason)
        return found[1] if found else ""


class Store(Cache):
    """The cache of one project's repositories: what they share is fetched once."""

    _foreseen: tuple[str | None, list[str]] | None = None
    """A commit, and what was left out that its history lacks; believed once."""

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
        with self._locked(), self._tried():
            self.room(access)
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

    @contextlib.contextmanager
    def foreseen(self, base: str | None) -> Iterator[None]:
        """Find out beside a block whether `complete` will have anything to do."""
        with ThreadPoolExecutor(1) as beside:
            looking = beside.submit(self._left_out, base)
            yield
        with contextlib.suppress(ToolError):  # it is asked again then
            self._foreseen = (base, looking.result())

    def complete(self, access: Access, tip: str, *, base: str | None) -> None:
        """Bring contents that a partial cache lacks: all that `tip` has and `base`'s history not."""
        foreseen, self._foreseen = self._foreseen, None
        left_out = foreseen[1] if foreseen and foreseen[0] == base else self._left_out(base)
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
            with self._locked(), self._tried():
                self._take(access, wanted)

    def _left_out(self, base: str | None) -> list[str]:
        """Return the refs that keep where contents were left out, unless `base` contains it."""
        if not self.is_partial:
            return []
        limits = [f"--no-merged={base}"] if base else []
        return self.text("for-each-ref", "--format=%(refname)", *limits, _PARTIAL_REFS).split()

    def _fetch(self, access: Access, wanted: Wanted, ref: str) -> None:
        """Bring a branch's tip, and keep it by `ref`."""
        with self._locked(), self._tried():
            try:
                self._receive(access, wanted, ref)
            except NotInPart:
                self._make()
                self._whole.touch()
                self._receive(access, wanted, ref)
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
        self._take(access, asked)
        if partly:
            self._prove_history(access, wanted)
            self._keep(ref.replace(_OWN_REFS, _PARTIAL_REFS), wanted, access)

    def _take(self, access: Access, wanted: Wanted) -> None:
        """Bring what is wanted, as far as there is room for it."""
        self._sweep(everywhere=False)  # what is small and far apart goes when we pack
        room = self.room(access)
        self._remote(access).fetch(
            self.git, wanted, partial=self.is_partial, room=room, seconds=self.seconds
        )

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
            hint = f"`git fsck` in {access.where}.repository says whether its history is whole"
            raise ToolError(what, None, error.tail, retryable=True, hint=hint) from None

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
                hint = "it was rewritten meanwhile: look again"
                raise ToolError(what, None, problem, retryable=True, hint=hint) from None
            if "non-commit object" in error.tail:
                problem, hint = f"{wanted.branch} points to no commit", "mend the branch there"
                raise ToolError(what, None, problem, hint=hint) from None
            raise

    def _remote(self, access: Access) -> Remote:
        self._must_be_there()
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
        `commit` descends from it, so the branch only ever moves forward. A server where somebody is
        at work this moment is asked again.
        """
        end = time.monotonic() + _BUSY_SECONDS
        while True:
            found = self._publish(access, branch, base=base, commit=commit, tags=tags)
            if found is None or not found.lock or time.monotonic() > end:
                return found
            time.sleep(PAUSE_SECONDS)

    def _publish(
        self, access: Access, branch: str, *, base: str | None, commit: str, tags: dict[str, str]
    ) -> PushRejected | None:
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
    return Store(cache_folder(), project.name, seconds, limit=project.cache_limit)
