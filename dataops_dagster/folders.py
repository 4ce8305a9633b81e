"""Where this machine keeps our caches and the state of tools.

What a disk refuses there becomes an error of ours: it names the place, and time may heal it.
"""

from __future__ import annotations

import contextlib
import errno
import os
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
