"""Locks between the processes of this machine; waits for none longer than it is told to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Locked:
    """Locks that are held; a program that `descriptors` are handed on to holds them, too."""

    descriptors: tuple[int, ...]


@dataclass(frozen=True)
class Busy:
    """A lock that somebody else holds, who said of themselves what `holder` says."""

    path: Path
    holder: str


@contextlib.contextmanager
def held(paths: Iterable[Path], holder: str, *, patience: float = 0.0) -> Iterator[Locked | Busy]:
    """Hold the locks of files, all or none, until the block and the programs in it are over.

    Waits up to `patience` seconds for each. The system lets go of them when the last holder has
    ended, however it did.
    """
    with contextlib.ExitStack() as stack:
        descriptors = []
        for path in sorted(set(paths)):  # in one order, so that no two wait for each other
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            # Closed and not unlocked: unlocking would do so for a program that still runs.
            stack.callback(os.close, descriptor)
            if not _was_taken(descriptor, patience):
                yield Busy(path, os.read(descriptor, 200).decode("utf-8", "replace"))
                return
            os.ftruncate(descriptor, 0)
            os.write(descriptor, holder.encode())
            descriptors.append(descriptor)
        yield Locked(tuple(descriptors))


def _was_taken(descriptor: int, patience: float) -> bool:
    end = time.monotonic() + patience
    while not _take(descriptor):
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _take(descriptor: int) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
