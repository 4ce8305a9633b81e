"""A project's bare repository on this machine: made whole, healed, kept small; reaches no server.

Deleting it at any time costs a fetch, nothing else.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataops_dagster import clock, process
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import usable
from dataops_dagster.git import NETWORK_SECONDS, Access, HardenedGit
from dataops_dagster.objects import Objects

ATTRIBUTES = (
    "* !merge !conflict-marker-size !diff !filter !ident !text !eol !crlf"
    " !working-tree-encoding !export-ignore !export-subst\n"
)
"""Attributes inside a repository may not change a merge (merge=union defeats -X theirs) or an
export; these lines, in `info/attributes`, outrank them."""

_OUTDATED_SECONDS = 2 * NETWORK_SECONDS

_SAMPLE, _LOOSE_IN_SAMPLE, _PACKS = "17", 27, 50

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


class CacheBroken(ToolError):  # noqa: N818  # its name is what happened
    """The cache was broken; a new one is in its place. `original` is the error if it was not that."""

    def __init__(self, error: ToolError, folder: Path) -> None:
        hint = f"the cache {folder} was broken and is made anew"
        super().__init__(error.command, error.code, error.tail, retryable=True, hint=hint)
        self.original = error


class Cache(Objects):
    """A bare repository of ours, which may be deleted at any time: it is made anew."""

    def __init__(
        self,
        root: Path,
        project: str,
        seconds: float = NETWORK_SECONDS,
        *,
        limit: int = 100 * 1000**3,
    ) -> None:
        """Take the cache below `root`, which may hold `limit` bytes.

        A fetch, and waiting for another's, may take `seconds`.
        """
        self.folder = root / f"{project}.git"
        self.seconds = seconds
        self.limit = limit
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
        git.file_bytes = self.limit
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

    def room(self, *, loose: bool) -> int:
        """Return how many bytes more it may hold, by its packs; with `loose` by all its objects."""
        used, objects = 0, self.folder / "objects"
        for path in objects.rglob("*") if loose else objects.glob("pack/*"):
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                used += path.stat().st_size
        return self.limit - used

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
