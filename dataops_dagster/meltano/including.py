"""Reads `meltano.yml` and the files that it includes, and puts them together as Meltano does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataops_dagster.meltano.files import LARGEST, Files, Kind
from dataops_dagster.meltano.matching import BadPattern, folders, matching
from dataops_dagster.meltano.model import Place, Unreadable
from dataops_dagster.meltano.parsing import NODES, read_yaml
from dataops_dagster.meltano.shapes import listed
from dataops_dagster.meltano.values import Rows, Table
from dataops_dagster.text import inert

MAIN = "meltano.yml"
_SECTIONS = ("schedules", "environments", "jobs")
_PATTERNS = 50
_INCLUDED = 200
_TOGETHER = 4 * LARGEST


@dataclass
class Written:
    """What the files of a project say together, and what could not be taken in.

    `failures` are those problems for which Meltano would answer nothing at all.
    """

    table: Table
    problems: list[Unreadable] = field(default_factory=list)
    failures: list[Unreadable] = field(default_factory=list)
    bytes: int = 0
    nodes: int = 0

    def fail(self, place: Place, reason: str) -> None:
        """Note what Meltano would refuse the whole project for."""
        problem = Unreadable(place, inert(reason))
        self.problems.append(problem)
        self.failures.append(problem)


@dataclass(frozen=True)
class Tree:
    """The part of a commit's files below a project's folder; paths are relative to it."""

    files: Files
    prefix: str
    kinds: Mapping[str, Kind]

    @classmethod
    def of(cls, files: Files, root: str) -> Tree:
        """Look at a folder of a commit; an empty `root` is the whole."""
        prefix = f"{root.strip('/')}/" if root.strip("/") else ""
        kinds = files.kinds()
        below = {p.removeprefix(prefix): k for p, k in kinds.items() if p.startswith(prefix)}
        return cls(files, prefix, below)

    def shown(self, path: str) -> str:
        """Return a path as it is named to people: from the repository's root."""
        return inert(self.prefix + path)

    def read(self, paths: Sequence[str]) -> dict[str, bytes | str]:
        """Read files at once; a text says why one could not be read."""
        plain = [path for path in paths if self.kinds.get(path) is Kind.FILE]
        found = self.files.contents([self.prefix + path for path in plain]) if plain else {}
        return {path: self._read(path, found) for path in paths}

    def _read(self, path: str, found: Mapping[str, bytes]) -> bytes | str:
        kind = self.kinds.get(path)
        if kind is None:
            return "there is no such file"
        if kind is not Kind.FILE:
            return f"this is a {kind.value}, which is not followed"
        return found.get(self.prefix + path, f"it is larger than {LARGEST} bytes")


def read_all(tree: Tree) -> Written:
    """Read the project's files and merge them: maps merge, lists join, the last plain value wins."""
    place = Place(tree.shown(MAIN), 1)
    written = Written(Table(place))
    main = _read(tree, MAIN, tree.read([MAIN])[MAIN], written)
    if main is None:
        return written
    included = _included(tree, main, written)
    written.table = main
    index = _Index(written)
    for path, data in tree.read(included).items():
        table = _read(tree, path, data, written)
        if table is not None:
            index.add(table)
            written.table = _merged(written.table, table, written)
    return written


def _read(tree: Tree, path: str, data: bytes | str, written: Written) -> Table | None:
    start = Place(tree.shown(path), 1)
    if isinstance(data, str):
        written.fail(start, data)
        return None
    written.bytes += len(data)
    if written.bytes > _TOGETHER or written.nodes > NODES:
        written.fail(start, "the files of the project are too large together")
        return None
    read = read_yaml(start.path, data)
    written.nodes += read.nodes
    written.problems += read.problems
    if read.is_broken:
        written.failures += read.problems
    elif not isinstance(read.value, Table):
        written.fail(start, "it is empty" if read.value is None else "it is no mapping")
    return read.value if isinstance(read.value, Table) else None


def _included(tree: Tree, main: Table, written: Written) -> list[str]:
    """Return the files that the patterns take in, each once."""
    patterns = main.get("include_paths", [])
    place = main.at("include_paths")
    if not isinstance(patterns, list):
        written.fail(place, "include_paths is no list")
        return []
    if len(patterns) > _PATTERNS:
        written.fail(place, f"include_paths has more than {_PATTERNS} patterns")
    found: dict[str, None] = {}
    all_paths = [*tree.kinds, *folders(tree.kinds)]
    for pattern in patterns[:_PATTERNS]:
        found |= dict.fromkeys(_matching(all_paths, pattern, place, written))
    found.pop(MAIN, None)
    return list(_files_only(found, tree, place, written))


def _matching(paths: Sequence[str], pattern: Any, place: Place, written: Written) -> list[str]:
    try:
        return matching(paths, pattern if isinstance(pattern, str) else "")
    except BadPattern as problem:
        written.fail(place, f"include_paths cannot take in {pattern}: {problem}")
        return []


def _files_only(
    found: Mapping[str, None], tree: Tree, place: Place, written: Written
) -> Iterator[str]:
    for number, path in enumerate(found):
        if number >= _INCLUDED:
            written.fail(place, f"include_paths takes in more than {_INCLUDED} files")
            return
        if path in tree.kinds:
            yield path
        else:
            written.fail(place, f"include_paths takes in {path}, which is a folder")


class _Index:
    """What stood in included files so far: the same plug-in twice there is an error of Meltano's."""

    def __init__(self, written: Written) -> None:
        self.written = written
        self.seen: set[tuple[Any, ...]] = set()

    def add(self, table: Table) -> None:
        for section in _SECTIONS:
            self._rows(table, section, section)
        plugins = table.get("plugins", {})
        if not isinstance(plugins, Table) and plugins != {}:
            self.written.fail(table.at("plugins"), "plugins of an included file are no mapping")
            return
        for type_ in plugins:
            self._rows(plugins, type_, "plugins", type_)

    def _rows(self, table: Table, key: Any, *kind: Any) -> None:
        rows = listed(table.get(key, []))
        if rows is None:
            self.written.fail(table.at(key), f"{key} of an included file is no list")
            return
        for row in rows:
            if not isinstance(row, Table) or "name" not in row:
                self.written.fail(
                    table.at(key), f"one of the {key} of an included file has no name"
                )
                return
            name = row["name"]
            if isinstance(name, dict | list) or (*kind, name) in self.seen:
                self.written.fail(row.at("name"), f"{name} stands in included files twice")
                return
            self.seen.add((*kind, name))


def _merged(base: Table, other: Table, written: Written) -> Table:
    """Return both mappings as one; never changes either."""
    merged = Table(base.place)
    merged.update(base)
    merged.places |= base.places
    for key, value in other.items():
        place = other.at(key)
        merged[key] = _joined(base[key], value, place, written) if key in base else value
        merged.places[key] = base.places.get(key, place) if key in base else place
    return merged


def _joined(base: Any, other: Any, place: Place, written: Written) -> Any:
    match base, other:
        case Table(), Table():
            return _merged(base, other, written)
        case Rows(), Rows():
            rows = Rows(base.place)
            rows.extend([*base, *other])
            rows.places = [*base.places, *other.places]
            return rows
        case _, Table() | Rows():
            written.fail(place, "it cannot be joined with what another file says here")
            return base
        case _:
            return other
