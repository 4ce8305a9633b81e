"""Where this machine keeps our caches, the state of tools and what is there for a moment.

What a disk refuses there becomes an error of ours: it names the place, and time may heal it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from dataops_dagster.errors import ToolError

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
"""What only a disk answers, no server."""

NO_ROOM = "make room, or let this user write, where DATAOPS_CACHE_DIR and TMPDIR lead"


def cache_folder() -> Path:
    """Return the folder of caches; deleting it is harmless. `DATAOPS_CACHE_DIR` moves it."""
    given = os.environ.get("DATAOPS_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("dataops_dagster")


def state_folder() -> Path:
    """Return the folder of tools' own state between runs. `DATAOPS_STATE_DIR` moves it."""
    given = os.environ.get("DATAOPS_STATE_DIR")
    return Path(given) if given else platformdirs.user_state_path("dataops_dagster")


@contextlib.contextmanager
def usable(place: Path | str) -> Iterator[None]:
    """Turn what the disk refuses at a place into `ToolError`."""
    try:
        yield
    except OSError as error:
        where, reason = error.filename or place, error.strerror or str(error)
        raise ToolError(f"using {where}", None, reason, retryable=True, hint=NO_ROOM) from None


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Give a folder that only this user may enter, and that goes afterwards."""
    with usable("a folder for a moment"):
        # A program may leave what only it can delete.
        made = tempfile.TemporaryDirectory(prefix=f"dataops-{name}-", ignore_cleanup_errors=True)
        try:
            yield Path(made.name)
        finally:
            try:
                made.cleanup()
            except RecursionError:  # before Python 3.13 each level is a call
                _flatten(Path(made.name))
                made.cleanup()


def _flatten(folder: Path) -> None:
    """Move all folders within a folder to its top, so that none is deep."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            inside = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for path in inside:
            top = tempfile.mkdtemp(dir=folder)
            os.replace(path, top)  # noqa: PTH105  # there are as many as somebody likes
            waiting.append(top)
