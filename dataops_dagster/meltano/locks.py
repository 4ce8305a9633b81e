"""What the lock files of plug-ins say, which are JSON; a place in one is its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from dataops_dagster.meltano.definitions import TYPES, declared, extras
from dataops_dagster.meltano.entries import DESCRIBED, PARTS, Base, named, underscored
from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.parsing import DEPTH
from dataops_dagster.meltano.shapes import Malformed, check_lists, check_parts, unusable
from dataops_dagster.meltano.values import Rows, Table
from dataops_dagster.text import one_line

_LONGEST = 200
_LOCKED = (PARTS | DESCRIBED | {"plugin_type"}) - {"inherit_from", "config", "default_variant"}
_NAME = re.compile(r'"name"\s*:\s*"((?:[^"\\]|\\.)*)"')


def locked(path: str, data: bytes) -> Base:
    """Read what a lock file defines; raises Malformed."""
    place = Place(path, 1)
    raw = _read(place, data)
    if not isinstance(raw, Table):
        raise Malformed(place, "the definition is no mapping")
    name, type_, namespace = (
        named(raw, "a definition"),
        raw.get("plugin_type"),
        raw.get("namespace"),
    )
    if type_ not in TYPES or not isinstance(namespace, str):
        raise Malformed(place, "the definition has no plugin_type or no namespace")
    if {"deprecated", "is_default_variant"} & set(raw):
        raise Malformed(place, "the definition has a key that Meltano sets itself")
    check_parts(raw, place, name)
    check_lists(raw, place, name)
    if failure := unusable(raw, name):
        raise Malformed(place, failure)
    lines = {
        name: Place(path, line)
        for name, line in _lines_of_names(data.decode("utf-8", "replace")).items()
    }
    defaults = underscored(raw, _LOCKED)
    return Base(
        type_, name, namespace, raw.get("variant"), tuple(declared(raw.get("settings"), name, lines)),
        tuple(extras(type_, name, defaults, place, name)), raw, place, path,
    )  # fmt: skip


def _read(place: Place, data: bytes) -> Any:
    try:
        value = json.loads(data.decode())  # of bytes it would take UTF-16, too
    except (ValueError, RecursionError) as problem:
        line = getattr(problem, "lineno", 1)
        reason = one_line(f"this is no JSON: {problem}")[:_LONGEST]
        raise Malformed(Place(place.path, line), reason) from None
    if _is_deep(value):
        raise Malformed(place, f"it is nested deeper than {DEPTH} levels")
    return _placed(value, place)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH):
        level = [i for v in level if isinstance(v, dict | list) for i in _items(v)]
    return any(isinstance(item, dict | list) for item in level)


def _items(value: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _placed(value: Any, place: Place) -> Any:
    match value:
        case dict():
            table = Table(place)
            table.update({key: _placed(item, place) for key, item in value.items()})
            return table
        case list():
            rows = Rows(place)
            rows.extend(_placed(item, place) for item in value)
            return rows
        case _:
            return value


def _lines_of_names(text: str) -> dict[str, int]:
    """Return the line of each `"name": "..."` in a JSON text, counting from 1."""
    found: dict[str, int] = {}
    line, last = 1, 0
    for match in _NAME.finditer(text):
        line += text.count("\n", last, match.start())
        last = match.start()
        found.setdefault(match[1], line)
    return found
