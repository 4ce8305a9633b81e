"""What a process and all its children use, read from the system while they work."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PAGE = resource.getpagesize()
_PAUSE_SECONDS = 0.004
_CPU_FIELDS = slice(11, 15)  # utime, stime, cutime, cstime of /proc/PID/stat after its name


@dataclass
class Peak:
    """The most memory that was seen at one moment, summed over all processes, in bytes.

    `resident` counts a page shared by two processes twice; `proportional` shares it out.
    """

    resident: int = 0
    proportional: int = 0
    samples: int = 0


def measurable() -> bool:
    """Say whether this system tells what we read."""
    return (_PROC / "self" / "smaps_rollup").exists()


@contextlib.contextmanager
def peak(pid: int) -> Iterator[Peak]:
    """Sample a process and all its descendants as long as the block lasts."""
    seen, stop = Peak(), threading.Event()

    def sample() -> None:
        while not stop.wait(_PAUSE_SECONDS):
            family = _family(pid)
            seen.resident = max(seen.resident, sum(map(_resident, family)))
            seen.proportional = max(seen.proportional, sum(map(_proportional, family)))
            seen.samples += 1

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield seen
    finally:
        stop.set()
        sampler.join()


def _family(pid: int) -> list[int]:
    """Return a process and its descendants, but no child that is yet to become its program.

    Until then it borrows its parent's memory, which would count twice.
    """
    own = _read(pid, "cmdline")
    return [pid, *(child for child in descendants(pid) if _read(child, "cmdline") != own)]


def descendants(pid: int) -> list[int]:
    """Return the living children of a process, and theirs."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for thread in (_PROC / str(pid) / "task").iterdir():
            for child in (thread / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def processor_seconds() -> float:
    """Return what this process, its ended children and its living ones took so far."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total + sum(map(_ticks, descendants(os.getpid()))) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[_CPU_FIELDS]))


def _resident(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _proportional(pid: int) -> int:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(pid: int, name: str) -> str:
    """Return what the system tells of a process, or nothing of one that has gone."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / name).read_text()
    return ""
