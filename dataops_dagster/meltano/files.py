"""Which files a project has at one commit, and what is in them; says nothing of what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

LARGEST = 512 * 1024
"""Files of more bytes than this are not read."""

TOGETHER = 32 * LARGEST
"""Nor are those that come after this many bytes, of what is read at once."""


class Kind(str, Enum):
    """What stands at a path."""

    FILE = "file"
    LINK = "symbolic link"
    OTHER = "submodule"


class Files(Protocol):
    """The files of one commit; paths are relative to its root, with slashes."""

    def kinds(self) -> Mapping[str, Kind]:
        """Return what stands at every path, folders left out."""

    def contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Read files, all at once; leaves out what is larger than `LARGEST`, or beyond `TOGETHER`."""


@dataclass(frozen=True)
class GivenFiles:
    """Files by their paths, as text or bytes: a project that stands nowhere else."""

    files: Mapping[str, str | bytes]
    links: frozenset[str] = frozenset()

    def kinds(self) -> Mapping[str, Kind]:
        """Return what stands at every path."""
        return dict.fromkeys(self.files, Kind.FILE) | dict.fromkeys(self.links, Kind.LINK)

    def contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Read files; leaves out what is larger than `LARGEST`."""
        read = {path: self.files[path] for path in paths}
        data = {path: t.encode() if isinstance(t, str) else t for path, t in read.items()}
        return {path: found for path, found in data.items() if len(found) <= LARGEST}
