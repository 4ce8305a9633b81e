"""The files of an exported commit, read as a project's `Files`; follows no link out of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dataops_dagster.meltano.files import LARGEST, Kind


@dataclass(frozen=True)
class ExportedFiles:
    """What stands in a folder before any program of the project was started there."""

    folder: Path

    def kinds(self) -> Mapping[str, Kind]:
        """Return what stands at every path."""
        return self._kinds

    @cached_property
    def _kinds(self) -> Mapping[str, Kind]:
        found = {}
        for folder, folders, files in os.walk(self.folder):
            for path in (Path(folder, name) for name in (*folders, *files)):
                mode = path.lstat().st_mode
                if not stat.S_ISDIR(mode):
                    kind = Kind.FILE if stat.S_ISREG(mode) else Kind.LINK
                    found[path.relative_to(self.folder).as_posix()] = kind
        return found

    def contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Read files; leaves out what is no plain file of this folder, or larger than `LARGEST`."""
        plain = [path for path in paths if self._kinds.get(path) is Kind.FILE]
        sizes = {path: (self.folder / path).lstat().st_size for path in plain}
        return {p: (self.folder / p).read_bytes() for p, size in sizes.items() if size <= LARGEST}
