"""Turns nested maps into dotted names and back, the way Meltano does. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

_DOT = re.compile(r"(?<!\\)\.")
_ESCAPED = r"\."


class Unnestable(ValueError):  # noqa: N818  # a word for the value, like Unkeepable
    """A key is no name, or a name stands for a value and for a map of values."""


def flatten(table: Mapping[Any, Any]) -> dict[str, tuple[Any, Any]]:
    """Return for each dotted name of a leaf the map that it stands in, and its key there.

    An empty map is a leaf. Raises Unnestable for a key that is no text.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for path, where in _leaves(table, ()):
        found[_dotted(path)] = where
    return found


def _leaves(table: Mapping[Any, Any], path: tuple[Any, ...]) -> Any:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), (table, key)


def _dotted(path: tuple[Any, ...]) -> str:
    if not all(isinstance(key, str) for key in path):
        wrong = next(key for key in path if not isinstance(key, str))
        raise Unnestable(f"the key {wrong} of a setting is no text; put it in quotes")
    return ".".join(path)


def nest(flat: Mapping[str, Any], *, unescape: bool = True) -> dict[str, Any]:
    r"""Return the map that dotted names stand for; with `unescape` a `\.` becomes a plain dot.

    Where a name stands for a map already, a later plain value is left out. Raises Unnestable the
    other way round.
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        _put(nested, name, {} if value is None else value, unescape=unescape)
    return nested


def _put(nested: dict[str, Any], name: Any, value: Any, *, unescape: bool) -> None:
    if not isinstance(name, str):
        raise Unnestable(f"the key {name} is no text")
    parts = _DOT.split(name)
    *initial, last = [part.replace(_ESCAPED, ".") for part in parts] if unescape else parts
    cursor = nested
    for key in initial:
        cursor = cursor.setdefault(key, {})
        if not isinstance(cursor, dict):
            raise Unnestable(f"{name} is set inside {key}, which has a value that is no map")
    cursor.setdefault(last, copy.deepcopy(value))


def without_dotted(nested: dict[str, Any]) -> None:
    r"""Drop the dotted names that nesting repeated, and turn `\.` into a plain dot, in place."""
    for key, value in list(nested.items()):
        if not isinstance(key, str):
            raise Unnestable(f"the key {key} of a setting is no text; put it in quotes")
        if _DOT.search(key):
            nested.pop(key)
            continue
        if _ESCAPED in key:
            nested[key.replace(_ESCAPED, ".")] = nested.pop(key)
        if isinstance(value, dict):
            without_dotted(value)
