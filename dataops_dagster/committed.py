"""The files of one commit, as what reads a project's configuration asks for them; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataops_dagster.git import Access
from dataops_dagster.meltano.files import LARGEST, TOGETHER, Kind
from dataops_dagster.objects import Entry, Objects


@dataclass
class CommittedFiles:
    """The files of a commit or tree; with `access` a partial cache may ask for their contents.

    The list is read once, when it is first asked for.
    """

    objects: Objects
    commit: str
    access: Access | None = None
    _entries: dict[str, Entry] | None = field(default=None, repr=False)

    def kinds(self) -> Mapping[str, Kind]:
        """Return what stands at every path."""
        return {path: _kind(entry) for path, entry in self._listed().items()}

    def contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Read files, all at once; leaves out what is larger than `LARGEST`, or beyond `TOGETHER`."""
        blobs = {path: self._listed()[path].id for path in paths}
        if self.access and len(paths) > 1:
            self.objects.prefetch(self.commit, paths, self.access)
        wanted = list(dict.fromkeys(blobs.values()))
        read, found, total = dict[str, bytes](), dict[str, bytes](), 0
        for blob, data in self.objects.contents(wanted, largest=LARGEST, access=self.access):
            read[blob], total = data, total + len(data)
            if total > TOGETHER:
                break
        for path, blob in blobs.items():
            # One file may stand at many paths, and whoever reads them pays for each.
            if blob in read and (total := total + len(read[blob])) <= 2 * TOGETHER:
                found[path] = read[blob]
        return found

    def _listed(self) -> dict[str, Entry]:
        if self._entries is None:
            self._entries = self.objects.entries(self.commit)
        return self._entries


def _kind(entry: Entry) -> Kind:
    if entry.is_file:
        return Kind.FILE
    return Kind.LINK if entry.mode == "120000" else Kind.OTHER
