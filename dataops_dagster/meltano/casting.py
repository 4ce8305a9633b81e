"""Makes a text what the kind of its setting says: a number, a truth, a list, a map. Pure."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from dataops_dagster.meltano.definitions import Definition
from dataops_dagster.meltano.moments import moment
from dataops_dagster.meltano.nesting import Unnestable, nest

_TRUE = frozenset({"true", "1", "yes", "on"})
_LONGEST = 64 * 1024


class Uncastable(ValueError):  # noqa: N818  # a word for the value, like Unkeepable
    """A value is not of its setting's kind; never repeats the value, which may be a secret."""


def cast(definition: Definition, value: Any) -> Any:
    """Return a value in its setting's kind; raises Uncastable."""
    value = value.isoformat() if isinstance(value, date) else value
    if isinstance(value, str) and definition.kind in _KINDS:
        value = _parsed(definition, value)
    if value is not None and definition.kind == "options" and not _is_option(definition, value):
        raise Uncastable(f"the value of {definition.name} is none of its options")
    return _processed(definition.name, definition.processor, value)


def finish(definition: Definition, value: Any) -> Any:
    """Return a value as the plug-in gets it; raises Uncastable.

    Words for a moment, such as `yesterday`, stay: what they mean depends on the clock.
    """
    if value is not None and definition.post_processor is None and definition.kind == _DATE:
        if not isinstance(value, str):
            raise Uncastable(f"the value of {definition.name} is no date")
        return moment(value)
    return _processed(definition.name, definition.post_processor, value)


def truthy(value: Any) -> bool:
    """Say whether a text means yes."""
    return str(value).lower() in _TRUE


def text(definition: Definition, value: Any) -> str:
    """Return a value as the text that stands for it in a variable; raises Uncastable."""
    if isinstance(value, str):
        return value
    if definition.kind in {None, "string", "decimal"}:
        return str(value)
    try:
        return as_json(value)
    except (TypeError, ValueError, RecursionError):
        raise Uncastable(f"the value of {definition.name} cannot be written as JSON") from None


def as_json(value: Any, indent: int | None = None) -> str:
    """Write JSON as Meltano does; raises TypeError for what it cannot write."""
    return json.dumps(value, default=_plain, indent=indent)


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _parsed(definition: Definition, value: str) -> Any:
    assert definition.kind
    try:
        return _KINDS[definition.kind](value)
    except (ValueError, InvalidOperation, SyntaxError, MemoryError, RecursionError, TypeError):
        reason = f"the value of {definition.name} is no {definition.kind}"
        raise Uncastable(reason) from None


def _literal(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        if len(value) > _LONGEST:
            raise
        return ast.literal_eval(value)


def _object(value: str) -> Any:
    parsed = _literal(value)
    if not isinstance(parsed, dict):
        raise TypeError("no map")
    return parsed


def _array(value: str) -> Any:
    parsed = _literal(value)
    if not isinstance(parsed, (list, tuple, str, bytes)):
        raise TypeError("no list")
    return list(parsed)


_DATE = "date_iso8601"
_KINDS: dict[str, Callable[[str], Any]] = {
    "boolean": truthy,
    "integer": int,
    "decimal": Decimal,
    "object": _object,
    "array": _array,
}


def _is_option(definition: Definition, value: Any) -> bool:
    try:
        return any(option["value"] == value for option in definition.options)
    except (TypeError, KeyError):
        raise Uncastable(f"the options of {definition.name} have no values") from None


def _processed(name: str, processor: Any, value: Any) -> Any:
    if value is None or processor is None or processor == "":
        return value
    try:
        return _PROCESSORS[processor](value)
    except (KeyError, TypeError, AttributeError, Unnestable):
        raise Uncastable(f"the value of {name} cannot be processed by {processor}") from None


_PROCESSORS: dict[Any, Callable[[Any], Any]] = {
    "nest_object": lambda value: nest(dict(value.items())),
    "upcase_string": lambda value: value.upper(),
    "stringify": lambda value: value if isinstance(value, str) else as_json(value),
    "parse_date": moment,
}
