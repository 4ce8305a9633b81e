r"""Puts the values of variables into written values: $NAME, ${name}, and \$NAME for the text. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

LONGEST = 1024 * 1024
"""A value may grow to this many characters."""

_VARIABLE = re.compile(r"(\\)?\$(?:\{(\w+)\}|([A-Z][A-Z0-9_]*))")


class Missing(IntEnum):
    """What stands for a variable that has no value; Meltano's own numbers."""

    EMPTY = 0
    ERROR = 1
    KEPT = 2


class Unexpandable(ValueError):  # noqa: N818  # a word for the value, like Unkeepable
    """A variable has no value although it must, or the values make too long a text."""


def names(value: Any) -> tuple[str, ...]:
    """Return the variables that a value names, at any depth, each once."""
    found: dict[str, None] = {}
    _each(value, lambda text: _note(text, found))
    return tuple(found)


def _note(text: str, found: dict[str, None]) -> str:
    for escape, curly, plain in _VARIABLE.findall(text):
        if not escape:
            found.setdefault(curly or plain)
    return text


def expand(value: Any, env: Mapping[str, Any], missing: Missing) -> Any:
    """Return a value with the variables put in, at any depth; once, so values may name others.

    Raises Unexpandable.
    """
    return _each(value, lambda text: _expanded(text, env, missing))


def _expanded(text: str, env: Mapping[str, Any], missing: Missing) -> str:
    if "$" not in text:
        return text
    length = len(text)

    def put(match: re.Match[str]) -> str:
        nonlocal length
        escape, curly, plain = match.groups()
        name = curly or plain
        if escape or (name not in env and missing is Missing.KEPT):
            return f"${{{name}}}" if curly else f"${name}"
        if name not in env and missing is Missing.ERROR:
            raise Unexpandable(f"the variable {name} has no value, which strict mode demands")
        found = str(env.get(name, ""))
        length += len(found)
        if length > LONGEST:
            raise Unexpandable(f"with its variables put in it has over {LONGEST} characters")
        return found

    return _VARIABLE.sub(put, text)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _each(item, change) for key, item in value.items()}
        case list():
            return [_each(item, change) for item in value]
        case _:
            return value
