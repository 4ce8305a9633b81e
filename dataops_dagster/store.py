"""A project's bare cache: fetches and reads history, writes objects, publishes by compare-and-swap.

Deleting it at any time costs a fetch, nothing else; a broken one is made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataops_dagster import process
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import cache_folder
from dataops_dagster.git import (
    NETWORK_SECONDS,
    Access,
    HardenedGit,
    branch_ref,
    object_id,
)
from dataops_dagster.model import Change, Commit
from dataops_dagster.remotes import NotInPart, Remote, Wanted, command
from dataops_dagster.settings import Project
from dataops_dagster.text import inert

ATTRIBUTES = (
    "* !merge !conflict-marker-size !diff !filter !ident !text !eol !crlf"
    " !working-tree-encoding !export-ignore !export-subst\n"
)
"""Attributes inside a repository may not change a merge (merge=union defeats -X theirs) or an
export; these lines, in `info/attributes`, outrank them."""

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_EMAIL = "dataops@localhost"
_REASON_LINES = 10
# git lets a branch point to commits only.
_OWN_REFS, _PARTIAL_REFS = "refs/heads/dataops", "refs/heads/dataops-partial"

_HAVES = 256
"""How many commits of a branch as last fetched a server is told of: one of them it will know."""

_HISTORY = 100_000
"""How far back a branch is looked through."""

_MANY_BLOBS = 20_000
"""More contents than this are not asked for one by one."""

_SAMPLE, _LOOSE_IN_SAMPLE, _PACKS = "17", 27, 50

_MOVED = re.compile(
    r"stale info|non-fast-forward|fetch first|already exists|cannot lock ref"
    r"|failed to (update|lock)|incorrect old value|atomic transaction failed"
)
# What git says of a cache that a crash or a disk left broken, or locked by a process that is gone.
_BROKEN = re.compile(
    r"not a git repository: |\.lock': File exists|object file \S+ is empty|is corrupt"
    r"|bad object|unable to read (tree|sha1 file)|did not receive expected object"
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


@dataclass(frozen=True)
class Entry:
    """What stands at a path of a tree: git's octal mode, and an object's id."""

    mode: str
    id: str


@dataclass(frozen=True)
class Difference:
    """What stands at a path in one tree and in another; `status` is git's letter."""

    path: bytes
    status: str
    before: Entry | None
    after: Entry | None


@dataclass(frozen=True)
class News:
    """Commits that one side lacks: how many there are, and the newest of them."""

    count: int
    commits: tuple[Commit, ...]


class _CacheBroken(ToolError):  # noqa: N818  # its name is what happened
    """The cache was broken; a new one is in its place. `original` is the error if it was not that."""

    def __init__(self, error: ToolError, folder: Path) -> None:
        hint = f"the cache {folder} was broken and is made anew"
        super().__init__(error.command, error.code, error.tail, retryable=True, hint=hint)
        self.original = error


class Store:
    """A bare cache of one project's repositories: what they share is fetched once."""

    def __init__(self, root: Path, project: str, seconds: float = NETWORK_SECONDS) -> None:
        """Take the cache below `root`; a fetch, and waiting for another's, may take `seconds`."""
        self.folder = root / f"{project}.git"
        self.seconds = seconds
        self.made = 0  # how often we made the cache anew: what was in it is gone then
        self._file_lock = FileLock(f"{self.folder}.lock", timeout=seconds)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
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
            raise _CacheBroken(error, self.folder) from None

    def text(self, *arguments: str, **options: Any) -> str:
        """Run git in the cache; returns its output as text."""
        return self.git(*arguments, **options).stdout.decode("utf-8", "replace").strip("\n")

    @property
    def is_partial(self) -> bool:
        """Say whether the contents of some files were left out when they were not needed."""
        return any((self.folder / "objects" / "pack").glob("*.promisor"))

    # --- reading ------------------------------------------------------------------------------

    def has(self, *commits: str) -> bool:
        """Say whether all of the commits are in the cache."""
        asked = "".join(f"{commit}\n" for commit in commits)
        told = self.text("cat-file", "--batch-check=%(objecttype)", stdin=asked.encode())
        return told.split("\n") == ["commit"] * len(commits)

    def fetch(
        self, access: Access, branch: str, commit: str, *, without_blobs: bool = False
    ) -> None:
        """Bring a commit of a workspace's branch into the cache, with its history.

        A first fetch may leave out the contents of files (see `complete`).
        """
        wanted = Wanted([commit], branch, without_blobs=without_blobs)
        ref = self._ref(access, branch)
        try:
            if not self.is_fetched(commit):
                self._fetch(access, wanted, ref)
        except _CacheBroken:
            try:
                self._fetch(access, wanted, ref)  # into a new one
            except _CacheBroken as error:  # so it was what the server sent
                raise error.original from None

    def is_fetched(self, *commits: str) -> bool:
        """Say whether fetches brought the commits, and found nothing wrong with them.

        An object may also be there because a fetch that was refused left it.
        """
        tips = set(self._tips().values())
        return all(commit in tips or self._is_reached(commit) for commit in commits)

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
            try:
                self._bring(access, wanted, ref)
            except NotInPart:
                self._make()
                self._whole.touch()
                self._bring(access, wanted, ref)
            except ToolError:
                self._sweep()
                raise
            self._keep(ref, wanted, access)
            self._tidy(access)

    def _bring(self, access: Access, wanted: Wanted, ref: str) -> None:
        tips = self._tips()
        # What is new on a branch that we know is needed whole: it will be pushed on.
        partly = wanted.without_blobs and ref not in tips and not self._whole.exists()
        asked = dataclasses.replace(wanted, haves=self._known(tips, ref), without_blobs=partly)
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
            elif packs and not indexed:
                self.git("commit-graph", "write", "--reachable", seconds=self.seconds)
        except ToolError:
            self._sweep()  # the next fetch tries again

    def _sweep(self) -> None:
        """Remove what a git command that failed left behind."""
        for leftover in (self.folder / "objects" / "pack").glob("tmp_*"):
            leftover.unlink(missing_ok=True)

    def _remote(self, access: Access) -> Remote:
        return Remote(access, str(self.folder))

    def _tips(self) -> dict[str, str]:
        """Return the tips of branches as last fetched, by the refs that keep them."""
        listed = self.text("for-each-ref", "--format=%(refname) %(objectname)", _OWN_REFS)
        return dict(line.split(" ") for line in listed.split("\n") if line)

    def _known(self, tips: dict[str, str], ref: str) -> list[str]:
        """Return ids whose history we have: all tips, and what came before them.

        Before the one of `ref`, if that was fetched before: another server may lack others' tips.
        """
        nearest = [tips[ref]] if ref in tips else list(tips.values())
        if not nearest:
            return []
        limit = f"--max-count={_HAVES}"
        before = self.text("rev-list", "--first-parent", limit, *nearest).split()
        return list(dict.fromkeys([*tips.values(), *before]))

    def commit(self, id_: str) -> Commit:
        """Read one commit."""
        return self.commits([id_])[0]

    def commits(self, ids: Sequence[str]) -> tuple[Commit, ...]:
        """Read commits; what is not in the encoding they declare is replaced, not refused."""
        return self._log("--no-walk=unsorted", "--end-of-options", *ids) if ids else ()

    def _log(self, *arguments: str) -> tuple[Commit, ...]:
        form = "--format=%H%n%T%n%P%n%ct%n%an%n%s"
        options = ("-z", "--encoding=UTF-8", "--no-show-signature", form)
        listed = self.text("log", *options, *arguments)
        return tuple(map(_commit, listed.rstrip("\0").split("\0"))) if listed else ()

    def trailers(self, commit: str) -> dict[str, str]:
        """Return the `Key: value` lines at the end of a commit's message."""
        form = "--format=%(trailers:only=true,unfold=true)"
        lines = self.text("log", "--no-walk", "--no-show-signature", form, commit).split("\n")
        pairs = (line.partition(": ") for line in lines)
        return {key: value for key, colon, value in pairs if colon}

    def log(self, base: str | None, tip: str, *, limit: int) -> News:
        """Return what `tip` has that `base` lacks: how many commits, and the newest `limit`."""
        exclude = [f"^{base}"] if base else []
        newest = self._log("--topo-order", f"--max-count={limit + 1}", tip, *exclude)
        count = len(newest)
        if count > limit:
            count = int(self.text("rev-list", "--count", tip, *exclude))
        return News(count, newest[:limit])

    def heads_in(self, news: News, base: str | None, *, limit: int) -> list[str]:
        """Return the heads that the branch had since `base`, newest first, at most `limit`.

        Those are its first parents; what was merged into it was no head of its own.
        """
        tip = news.commits[0].id
        if news.count > len(news.commits):
            exclude = [f"^{base}"] if base else []
            options = ("--topo-order", "--first-parent", f"--max-count={limit}")
            return self.text("rev-list", *options, tip, *exclude).split()
        parents = {commit.id: commit.parents for commit in news.commits}
        heads = [tip]
        while parents[heads[-1]] and parents[heads[-1]][0] in parents:
            heads.append(parents[heads[-1]][0])
        return heads

    def history(self, tip: str) -> list[str]:
        """Return the commits of a branch, newest first."""
        return self.text("rev-list", f"--max-count={_HISTORY}", tip).split()

    def contains(self, tip: str, commit: str) -> bool:
        """Say whether `commit` is `tip` or an ancestor of it."""
        done = self.git("merge-base", "--is-ancestor", commit, tip, allow=(0, 1))
        return done.code == 0

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Return the newest commits that two share; several after they merged criss-cross."""
        done = self.git("merge-base", "--all", one, other, allow=(0, 1))
        if done.code == 0:
            return done.stdout.decode().split()
        # With a missing commit git before 2.44 also answers "none"; only a full walk proves it.
        self.git("rev-list", "--count", one, other)
        return []

    def changes(self, before: str | None, after: str, *paths: str) -> tuple[Change, ...]:
        """Compare two trees (None is the empty one), path by path, without rename detection.

        With `paths`, only what these patterns of git's take in.
        """
        differences = self.differences(before, after, *paths)
        return tuple(Change(d.status, shown(d.path)) for d in differences)

    def differences(self, before: str | None, after: str, *paths: str) -> list[Difference]:
        """Return what differs between two trees, as git has it."""
        old = before or EMPTY_TREE
        if old == after:
            return []
        patterns = ["--", *(f":(glob){path}" for path in paths)] if paths else []
        options = ("-r", "-z", "--raw", "--no-abbrev", "--no-renames")
        listed = self.git("diff-tree", *options, old, after, *patterns).stdout
        fields = listed.split(b"\0")[:-1]
        return [
            _difference(facts, path) for facts, path in zip(fields[::2], fields[1::2], strict=True)
        ]

    def entry(self, tree: str, path: str) -> Entry | None:
        """Return what stands at a path, if anything does."""
        literally = {"GIT_LITERAL_PATHSPECS": "1"}
        found = self.text("ls-tree", "-z", tree, "--", path, env=literally).partition("\t")[0]
        mode, _, id_ = found.split(" ") if found else ("", "", "")
        return Entry(mode, id_) if found else None

    def read(self, blob: str, access: Access | None = None) -> bytes:
        """Read a file's contents; with `access` a partial cache may ask for them."""
        return self.git("cat-file", "blob", blob, access=access, lazy=True).stdout

    def tags(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield name and message of the annotated tags below `prefix` that are in the cache."""
        form = "--format=%(objecttype)%00%(refname)%00%(contents)%00"
        fields = self.text("for-each-ref", form, prefix).split("\0")
        for kind, name, message in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
            if kind.strip() == "tag":
                yield name.removeprefix("refs/tags/"), message

    # --- writing into the cache ---------------------------------------------------------------

    def write_blob(self, data: bytes) -> str:
        """Write a file's contents; returns the id."""
        return object_id(self.text("hash-object", "-w", "--stdin", stdin=data))

    def write_tree(self, tree: str, entries: Mapping[bytes, Entry | None]) -> str:
        """Write a tree like `tree` with some paths set, or removed (None)."""
        if not entries:
            return tree
        lines = [
            f"{entry.mode} {entry.id} 0\t".encode() + path
            if entry
            else b"0 " + b"0" * 40 + b"\t" + path
            # Removed first: a file may stand where a folder was.
            for path, entry in sorted(entries.items(), key=lambda item: item[1] is not None)
        ]
        with tempfile.TemporaryDirectory(prefix="dataops-tree-") as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            self.git("read-tree", tree, env=env)
            self.git(
                "update-index",
                "-z",
                "--replace",
                "--index-info",
                stdin=b"\0".join(lines) + b"\0",
                env=env,
            )
            return object_id(self.text("write-tree", "--missing-ok", env=env))

    def write_commit(
        self, tree: str, parents: Sequence[str], message: str, *, name: str, time: int
    ) -> str:
        """Write a commit whose id depends on nothing but these arguments."""
        options = [word for parent in parents for word in ("-p", parent)]
        env = identity(name, time)
        return object_id(self.text("commit-tree", tree, *options, stdin=message.encode(), env=env))

    def write_tag(self, tag: str, commit: str, message: str, *, name: str, time: int) -> str:
        """Write an annotated tag object without a ref; returns its id."""
        identity = f"{name} <{_EMAIL}> {time} +0000"
        text = f"object {commit}\ntype commit\ntag {tag}\ntagger {identity}\n\n{message}"
        return object_id(self.text("mktag", stdin=text.encode()))

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
            self.git, updates, has=[base] if base else [], seconds=NETWORK_SECONDS
        )
        if not report.refused:
            with contextlib.suppress(ToolError):  # it is published; the next fetch finds it
                self.git("update-ref", self._ref(access, branch), commit)
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

    # --- files --------------------------------------------------------------------------------

    def export(self, commit: str, folder: Path) -> None:
        """Write the commit's files into an empty folder, without anything of git's own.

        The cache has to be `complete` for it.
        """
        with tempfile.TemporaryDirectory(prefix="dataops-export-") as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(folder)}
            self.git("read-tree", commit, env=env)
            self.git("checkout-index", "--all", "--quiet", env=env)


def store_of(project: Project, seconds: float = NETWORK_SECONDS) -> Store:
    """Return a project's cache on this machine; a fetch into it may take `seconds`."""
    return Store(cache_folder(), project.name, seconds)


def _commit(record: str) -> Commit:
    id_, tree, parents, time, author, subject = record.split("\n", 5)
    return Commit(
        id=id_,
        tree=tree,
        author=inert(author)[:200],
        subject=inert(subject)[:200],
        time=int(time) if time.lstrip("-").isdigit() else 0,
        parents=tuple(parents.split()),
    )


def shown(path: bytes) -> str:
    """Return a path as text; bytes that are no UTF-8 stay readable."""
    return inert(path.decode("utf-8", "backslashreplace"))


def _difference(facts: bytes, path: bytes) -> Difference:
    """Read `:MODE MODE ID ID STATUS`."""
    old_mode, mode, old_id, id_, status = facts.decode()[1:].split(" ")
    return Difference(
        path,
        status[0],
        None if status == "A" else Entry(old_mode, old_id),
        None if status == "D" else Entry(mode, id_),
    )


def identity(name: str, time: int) -> dict[str, str]:
    """Return the environment that makes git write this name and date, in UTC seconds."""
    values = {"NAME": name, "EMAIL": _EMAIL, "DATE": f"@{time} +0000"}
    return {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in values.items()
    }
