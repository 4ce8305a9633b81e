"""Reads YAML 1.2 into plain values that know their places, within bounds; runs no tag.

What cannot be taken in is named, and the rest of the file is kept where it can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from dataops_dagster.meltano.model import Place, Unreadable
from dataops_dagster.meltano.values import Refused, Rows, Table
from dataops_dagster.text import one_line

DEPTH = 60
NODES = 200_000
"""How many values a file may have; what aliases repeat counts each time."""

_LONGEST = 200
_PROBLEMS = 100
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "timestamp")}
_OTHER_SHAPES = {f"tag:yaml.org,2002:{name}" for name in ("set", "omap", "pairs")}
_CONTAINERS = {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass
class Read:
    """What a file says, and what in it could not be taken in; the value is None where all of it.

    `is_broken` says that Meltano would refuse the file, not only a value in it.
    """

    value: Any = None
    problems: list[Unreadable] = field(default_factory=list)
    is_broken: bool = False
    nodes: int = 0


class _Stopped(Exception):  # noqa: N818  # no error of ours: the file's reading ends here
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def read_yaml(path: str, data: bytes) -> Read:
    """Read one YAML document; never raises for what the file says."""
    reader = _Reader(path)
    try:
        value = reader.document(data)
    except _Stopped as stopped:
        reader.refuse(stopped.line, stopped.reason)
        return Read(None, reader.problems, is_broken=True)
    return Read(value, reader.problems, is_broken=reader.is_broken, nodes=reader.nodes)


@dataclass
class _Open:
    """A list or mapping that is being read; `merged` are the mappings that `<<` names."""

    value: Table | Rows
    anchor: str | None
    size: int = 1
    key: Any = None
    key_place: Place | None = None
    merges: bool = False
    has_merged: bool = False
    merged: list[Any] = field(default_factory=list)
    refused: Refused | None = None


class _Reader:
    """Builds the values of one file from the parser's events, and counts what they cost."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Unreadable] = []
        self.yaml = YAML(typ="rt", pure=True)
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.opened: set[str] = set()
        self.nodes = 0
        self.documents = 0
        self.is_broken = False
        self.result: Any = None

    def document(self, data: bytes) -> Any:
        text = self._text(data)
        for event in self._events(text):
            line = event.start_mark.line + 1
            match event:
                case DocumentStartEvent():
                    self.documents += 1
                    if self.documents > 1:
                        raise _Stopped(line, "a second document begins here")
                case MappingStartEvent() | SequenceStartEvent():
                    self._start(event, line)
                case CollectionEndEvent():
                    self._end()
                case AliasEvent():
                    value, size = self._alias(event.anchor, line)
                    self._count(size, line)
                    self._add(value, size, line)
                case ScalarEvent():
                    self._scalar(event, line)
        return self.result

    def refuse(self, line: int, reason: str) -> Refused:
        problem = Unreadable(Place(self.path, line), one_line(reason)[:_LONGEST])
        if len(self.problems) < _PROBLEMS:
            self.problems.append(problem)
        return Refused(problem)

    def _text(self, data: bytes) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            line = data.count(b"\n", 0, problem.start) + 1
            raise _Stopped(line, "this is no UTF-8") from None

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from self.yaml.parse(text)
        except _Stopped:
            raise
        except MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            raise _Stopped(
                mark.line + 1 if mark else 1, f"this is no YAML: {problem.problem}"
            ) from None
        except ReaderError as problem:
            line = text.count("\n", 0, problem.position) + 1
            raise _Stopped(line, "this is no YAML: it has a control character") from None
        except Exception as problem:  # noqa: BLE001  # the parser raises many kinds for odd bytes
            raise _Stopped(1, f"this is no YAML: {type(problem).__name__}") from None

    def _start(self, event: Any, line: int) -> None:
        self._count(1, line)
        if len(self.open) >= DEPTH:
            raise _Stopped(line, f"it is nested deeper than {DEPTH} levels")
        place = Place(self.path, line)
        value = Table(place) if isinstance(event, MappingStartEvent) else Rows(place)
        self.open.append(_Open(value, self._anchor(event)))
        if event.tag not in _CONTAINERS:
            refused = self.refuse(line, f"the tag {event.tag} is not read")
            self.open[-1].refused = refused if event.tag in _OTHER_SHAPES else None

    def _anchor(self, event: Any) -> str | None:
        if event.anchor:
            self.opened.add(event.anchor)
            self.anchors.pop(event.anchor, None)
        return event.anchor or None

    def _end(self) -> None:
        closed = self.open.pop()
        line = closed.value.place.line
        for other in closed.merged:
            _merge(closed.value, other)
        self._add(closed.refused or closed.value, closed.size, line, closed.anchor)

    def _alias(self, anchor: str, line: int) -> tuple[Any, int]:
        if anchor in self.anchors:
            return self.anchors[anchor]
        if anchor in self.opened:
            self.is_broken = True
            return self.refuse(line, f"the alias *{anchor} stands inside its own anchor"), 1
        raise _Stopped(line, f"no anchor &{anchor} stands before this alias")

    def _scalar(self, event: Any, line: int) -> None:
        self._count(1, line)
        tag = event.ctag
        if tag is None or str(tag) == "!":
            tag = self.yaml.resolver.resolve(ScalarNode, event.value, event.implicit)
            value = self._constructed(tag, event, line)
        elif str(tag) in _PLAIN:
            value = self._constructed(tag, event, line)
        else:
            value = self.refuse(line, f"the tag {tag} is not read")
        self._add(value, 1, line, self._anchor(event), is_merge=str(tag) == _MERGE)

    def _constructed(self, tag: Any, event: Any, line: int) -> Any:
        if str(tag) in {"tag:yaml.org,2002:str", _MERGE}:
            # The scanner marks with \a where it folded a line.
            return event.value.replace("\a", "") if event.style == ">" else str(event.value)
        node = ScalarNode(
            tag, event.value, event.start_mark, event.end_mark, style=event.style,
            anchor=event.anchor,
        )  # fmt: skip
        try:
            return _plain(self.yaml.constructor.construct_object(node))
        except Exception as problem:  # noqa: BLE001  # impossible dates and numbers, in many kinds
            kind = str(tag).rpartition(":")[2]
            raise _Stopped(line, f"this is no {kind}: {type(problem).__name__}") from None

    def _add(
        self, value: Any, size: int, line: int, anchor: str | None = None, *, is_merge: bool = False
    ) -> None:
        if anchor:
            self.anchors[anchor] = (value, size)
        if not self.open:
            self.result = value
            return
        parent = self.open[-1]
        parent.size += size
        place = Place(self.path, line)
        if isinstance(parent.value, Rows):
            parent.value.append(value)
            parent.value.places.append(place)
        elif parent.key_place is None:
            parent.key, parent.key_place = self._key(value, line), place
            parent.merges = is_merge
        else:
            self._pair(parent, parent.value, value)

    def _count(self, size: int, line: int) -> None:
        self.nodes += size
        if self.nodes > NODES:
            raise _Stopped(line, f"it has more than {NODES} values, counting what aliases repeat")

    def _key(self, value: Any, line: int) -> Any:
        if isinstance(value, (dict, list)):
            return self.refuse(line, "a key is no plain value")
        return value

    def _pair(self, parent: _Open, table: Table, value: Any) -> None:
        key, place = parent.key, parent.key_place
        assert place is not None
        parent.key_place = None
        if parent.merges:
            parent.merges = False
            if parent.has_merged:
                self.is_broken = True
                self.refuse(place.line, "the key << stands here twice")
            parent.has_merged = True
            parent.merged += value if isinstance(value, list) else [value]
            if not all(isinstance(item, dict) for item in parent.merged):
                raise _Stopped(place.line, "<< names something that is no mapping")
        elif key in table:
            self.is_broken = True
            self.refuse(place.line, f"the key {key} stands here twice")
        else:
            table[key] = value
            table.places[key] = place


def _merge(table: Table | Rows, other: Table) -> None:
    assert isinstance(table, Table)
    for key, value in other.items():
        if key not in table:
            table[key] = value
            table.places[key] = other.at(key)


def _plain(value: Any) -> Any:
    """Turn ruamel's own numbers into Python's; an anchored boolean is a number to Meltano, too."""
    match value:
        case bool() | None:
            return value
        case ScalarBoolean() | int():
            return int(value)
        case float():
            return float(value)
        case _:
            return value
