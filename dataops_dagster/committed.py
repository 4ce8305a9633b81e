"""The files of one commit, as what reads a project's configuration asks for them; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataops_dagster.git import Access
from dataops_dagster.meltano.files import LARGEST, Kind
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
        """Read files, all at once; leaves out what is larger than `LARGEST`."""
        blobs = {path: self._listed()[path].id for path in paths}
        wanted = list(dict.fromkeys(blobs.values()))
        read = dict(self.objects.contents(wanted, largest=LARGEST, access=self.access))
        return {path: read[blob] for path, blob in blobs.items() if blob in read}

    def _listed(self) -> dict[str, Entry]:
        if self._entries is None:
            self._entries = self.objects.entries(self.commit)
        return self._entries


def _kind(entry: Entry) -> Kind:
    if entry.is_file:
        return Kind.FILE
    return Kind.LINK if entry.mode == "120000" else Kind.OTHER
