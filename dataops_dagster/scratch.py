"""Temporary folders: each goes when its block ends, or with the next one if its process was killed.

Removes nothing that somebody works in, and nothing of another user's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataops_dagster.folders import usable

_PREFIX = "dataops-scratch-"
_OURS = re.compile(rf"{_PREFIX}[\w-]+-\w{{8}}")


@contextlib.contextmanager
def folder(what: str) -> Iterator[Path]:
    """Give an empty folder that only this user may enter; `what` it is for stands in its name.

    Raises `ToolError` for what the disk refuses in there.
    """
    with usable("a folder for a moment"):
        _sweep(Path(tempfile.gettempdir()))
        path, lock = _made(what)
        try:
            yield path
        finally:
            _remove(path)
            os.close(lock)


def _made(what: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{what}-"))
        lock = _lock(path)
        if lock is not None:
            return path, lock
        # Somebody's sweep was faster than our lock: the folder is gone.


def _sweep(parent: Path) -> None:
    """Remove what processes left that are gone: the system let go of their locks."""
    with os.scandir(parent) as entries:
        found = [Path(entry.path) for entry in entries if _OURS.fullmatch(entry.name)]
    for path in found:
        lock = _lock(path)
        if lock is not None:
            _remove(path)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Lock a folder of ours for as long as this process lives; None where that cannot be had."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_uid == os.geteuid() and path.is_dir():
            return lock
    os.close(lock)
    return None


def _remove(path: Path) -> None:
    """Remove a folder, also one that a program made unwritable; what only root may remove stays."""
    shutil.rmtree(path, ignore_errors=True)
    for parent, names, _ in os.walk(path):
        for name in names:
            inner = Path(parent, name)
            with contextlib.suppress(OSError):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
