"""Fills in the templates in a component's attributes: text stays text, also if it looks like a number.

Dagster reads all that a template gives as Python would; what the settings take decides here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_dagster import config
from dataops_dagster.errors import ConfigError

_MARKS = ("{{", "{%", "{#")
_TYPES = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
_NO_LITERAL = "="
"""No literal of Python's begins so: what stands behind it comes out as it is."""


def filled(given: Any, context: dg.ResolutionContext, file: Path) -> Any:
    """Return attributes with their templates filled in; raises `ConfigError` where one gives nothing."""
    schema = config.schema()
    return _filled(given, context, file, (), _Place(schema["$defs"], [schema]))


class _Place:
    """A place in the settings, by the schemas of which a value there fits one; none says anything."""

    def __init__(self, definitions: Mapping[str, Any], schemas: list[Any]) -> None:
        self._definitions = definitions
        self._schemas = [one for schema in schemas for one in self._offered(schema)]

    @property
    def types(self) -> set[str]:
        """What it takes, as JSON Schema names it."""
        return {schema["type"] for schema in self._schemas if "type" in schema} or {"string"}

    def below(self, key: str | int) -> _Place:
        """Return the place of a key, or of an item of a list."""
        found = [_part(schema, key) for schema in self._schemas]
        return _Place(self._definitions, [part for part in found if isinstance(part, dict)])

    def _offered(self, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if "$ref" in schema:
            schema = self._definitions[schema["$ref"].rpartition("/")[2]]
        yield schema
        for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield from self._offered(one)


def _part(schema: Mapping[str, Any], key: str | int) -> Any:
    if isinstance(key, int):
        return schema.get("items")
    return schema.get("properties", {}).get(key) or schema.get("additionalProperties")


def _filled(
    given: Any,
    context: dg.ResolutionContext,
    file: Path,
    keys: tuple[str | int, ...],
    place: _Place,
) -> Any:
    def inner(key: Any, value: Any) -> Any:
        return _filled(value, context.at_path(key), file, (*keys, key), place.below(key))

    if isinstance(given, Mapping):
        return {key: inner(key, value) for key, value in given.items()}
    if isinstance(given, list):
        return [inner(i, value) for i, value in enumerate(given)]
    if not isinstance(given, str) or not any(mark in given for mark in _MARKS):
        return given
    value: Any = context.resolve_value(given)
    if value is None:
        raise ConfigError.at(
            f"{file}: {'.'.join(map(str, keys))}",
            "its template gives nothing",
            "set the environment variable that it names where the code location is started",
        )
    if _TYPES.get(type(value)) in place.types:
        return value
    if "string" in place.types:
        return context.resolve_value(_NO_LITERAL + given, as_type=str).removeprefix(_NO_LITERAL)
    return value == "true" if value in ("true", "false") else value
