"""What an uploaded project holds, and how it differs from what is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataops_dagster.testing.tinybird import datafiles
from dataops_dagster.testing.tinybird.datafiles import Datasource, Pipe
from dataops_dagster.testing.tinybird.exchange import Json, Part, Refused

Resources = Mapping[str, Datasource | Pipe]


@dataclass
class Project:
    """The resources of a project by name, the files they are in, and what is wrong with the files."""

    resources: dict[str, Datasource | Pipe] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    errors: list[Json] = field(default_factory=list)

    def add(self, filename: str, text: str) -> None:
        """Take one file into the project."""
        try:
            found = datafiles.read(filename, text)
            if found and found.name in self.resources:
                raise Refused(400, f"{found.name} is in {self.files[found.name]}, too")  # noqa: TRY301  # told as what is wrong with the text is
        except Refused as refused:
            self.errors.append({"filename": filename, "error": str(refused)})
            return
        if found:
            self.resources[found.name], self.files[found.name] = found, filename

    def blame(self, wrong: Mapping[str, str]) -> list[Json]:
        """Return what is wrong with resources as what is wrong with their files."""
        return [{"filename": self.files.get(n, n), "error": e} for n, e in wrong.items()]


def read(parts: tuple[Part, ...]) -> Project:
    """Return the project that was uploaded; what it vendored from others is left out."""
    project = Project()
    for part in parts:
        if part.field == "data_project://":
            project.add(part.filename, part.content.decode())
    return project


def compare(before: Resources, after: Resources) -> Json:
    """Return what is new, changed and deleted, by kind, in the API's words."""
    told: Json = {}
    for word, kind in (("datasource", Datasource), ("pipe", Pipe)):
        old = {n: r for n, r in before.items() if isinstance(r, kind)}
        new = {n: r for n, r in after.items() if isinstance(r, kind)}
        told[f"new_{word}_names"] = sorted(new.keys() - old.keys())
        told[f"changed_{word}_names"] = sorted(n for n in new.keys() & old if new[n] != old[n])
        told[f"deleted_{word}_names"] = sorted(old.keys() - new.keys())
    return told
