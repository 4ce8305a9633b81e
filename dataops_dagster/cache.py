"""A project's bare repository on this machine: made whole, healed, kept small; reaches no server.

Deleting it at any time costs a fetch, nothing else.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataops_dagster import clock, process
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import usable
from dataops_dagster.git import NETWORK_SECONDS, Access, HardenedGit, TooMuch
from dataops_dagster.objects import Objects

ATTRIBUTES = (
    "* !merge !conflict-marker-size !diff !filter !ident !text !eol !crlf"
    " !working-tree-encoding !export-ignore !export-subst\n"
)
"""Attributes inside a repository may not change a merge (merge=union defeats -X theirs) or an
export; these lines, in `info/attributes`, outrank them."""

_OUTDATED_SECONDS = 60.0
"""Nobody adds nothing to a file that it writes for so long."""

_LOCK_SECONDS, PAUSE_SECONDS = 3.0, 0.1
"""How long git's own lock of a file may be held by somebody who lives, and when to look again."""

_SAMPLE, _LOOSE_IN_SAMPLE, _PACKS = "17", 27, 50

LOCK = re.compile(r"Unable to create '([^']+\.lock)': File exists")
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


def _is_held(error: ToolError) -> bool:
    """Say whether a command failed at a lock whose holder is likely to live: it is a young one."""
    found = LOCK.search(error.tail)
    if found is None:
        return False
    try:
        age = clock.now().timestamp() - Path(found[1]).stat().st_mtime
    except FileNotFoundError:
        return True  # it was let go
    return abs(age) < _LOCK_SECONDS


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
                    hint="wait for it; a first fetch of a large repository takes long",
                ) from None

    @cached_property
    def _command(self) -> HardenedGit:
        if not (self.folder / "HEAD").exists():
            with usable(self.folder.parent):
                self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked():
                if not (self.folder / "HEAD").exists():
                    self._make()
        self._say_attributes(self.folder)
        git = HardenedGit()
        git.update_environment(GIT_DIR=str(self.folder))
        git.file_bytes = self.limit
        return git

    def _make(self) -> None:
        """Make the cache aside and move it into place whole: a crash leaves no half of it."""
        making = f"making-{self.folder.name}-"
        for leftover in self.folder.parent.glob(f"{making}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=making))
        HardenedGit().command("init", "--quiet", "--bare", "--template=", str(fresh))
        self._say_attributes(fresh)
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)
        self.made += 1

    @staticmethod
    def _say_attributes(folder: Path) -> None:
        """Write down, unless it stands there, which attributes hold: without them any do."""
        path = folder / "info" / "attributes"
        with usable(folder):
            if not path.is_file() or path.read_text(errors="replace") != ATTRIBUTES:
                path.parent.mkdir(exist_ok=True)
                path.write_text(ATTRIBUTES)

    def git(self, *arguments: str, **options: Any) -> process.Completed:
        """Run git in the cache; one that turns out broken is made anew, for the next attempt."""
        if options.get("lazy") and not self.is_partial:
            # Nothing can be missing, so nobody needs to reach a server.
            options |= {"lazy": False, "access": None}
        command, seen = self._command, self._born
        try:
            return self._patient(command, *arguments, **options)
        except ToolError as error:
            if not _BROKEN.search(error.tail):
                raise
            raise self._healed(error, seen) from None

    def _healed(self, error: ToolError, seen: int) -> CacheBroken:
        """Make the cache anew, unless somebody did since it was `seen`; returns what to raise."""
        with self._locked():
            if self._born == seen:
                self._make()
        return CacheBroken(error, self.folder)

    def _must_be_there(self) -> None:
        """Make it anew where somebody deleted it meanwhile; raises `CacheBroken`."""
        if not self._born:
            raise self._healed(ToolError(f"using {self.folder}", None, "it was deleted"), 0)

    @staticmethod
    def _patient(command: HardenedGit, *arguments: str, **options: Any) -> process.Completed:
        """Run git; wait for a lock that another process may hold still."""
        while True:
            try:
                return command.command(*arguments, **options)
            except ToolError as error:
                if not _is_held(error):
                    raise
            time.sleep(PAUSE_SECONDS)

    @property
    def _born(self) -> int:
        """What tells this cache from the one that was in its place before."""
        try:
            return self.folder.stat().st_ino
        except FileNotFoundError:
            return 0

    @property
    def is_partial(self) -> bool:
        """Say whether the contents of some files were left out when they were not needed."""
        return any(entry.name.endswith(".promisor") for entry in self._packs())

    def _packs(self) -> Iterator[os.DirEntry[str]]:
        """Yield what stands beside the packs: by the system's own call, as each look does so often."""
        packs = self.folder / "objects" / "pack"
        with contextlib.suppress(FileNotFoundError), os.scandir(packs) as entries:
            yield from entries

    def room(self, access: Access) -> int:
        """Return how many bytes more it may hold, by its packs: what is loose is small.

        Raises `TooMuch` when there is no room for anything that `access` leads to.
        """
        used = 0
        for entry in self._packs():
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                used += entry.stat().st_size
        if used >= self.limit:
            raise TooMuch.held_by(access)
        return self.limit - used

    @contextlib.contextmanager
    def _tried(self) -> Iterator[None]:
        """Remove what a block that failed has left, under the lock."""
        begun = clock.now().timestamp()
        try:
            yield
        except ToolError:
            self._sweep(since=begun)
            raise

    def _tidy(self, access: Access) -> None:
        """Pack what many fetches left, and index a long history, where that speeds up every look."""
        objects = self.folder / "objects"
        # git's own measure: one of 256 folders tells of all of them.
        loose, packs = objects / _SAMPLE, list((objects / "pack").glob("*.pack"))
        many = loose.is_dir() and len(list(loose.iterdir())) > _LOOSE_IN_SAMPLE
        indexed = (objects / "info" / "commit-graph").exists()
        with contextlib.suppress(ToolError), self._tried():  # the next fetch tries again
            if many or len(packs) > _PACKS:
                # Packing a partial cache stops at what is missing, unless that may be asked for.
                self.git("gc", "--quiet", seconds=self.seconds, access=access, lazy=True)
                self._sweep()
            elif packs and not indexed:
                self.git("commit-graph", "write", "--reachable", seconds=self.seconds)

    def _sweep(self, *, since: float = math.inf, everywhere: bool = True) -> None:
        """Remove what writers that were killed left, and all that was written `since` a time."""
        objects = self.folder / "objects"
        drafts = [Path(e.path) for e in self._packs() if e.name.startswith(("tmp_", ".tmp-"))]
        drafts += objects.glob("obj*")
        if everywhere:
            drafts += objects.glob("??/tmp_obj_*")
        oldest = clock.now().timestamp() - _OUTDATED_SECONDS  # as the disk's clock tells it
        for draft in drafts:
            with contextlib.suppress(FileNotFoundError):
                if not oldest < draft.stat().st_mtime < since:
                    draft.unlink()
