"""Fills in the templates in a component's attributes: text stays text, also if it looks like a number.

Dagster reads all that a template gives as Python would; what the settings take decides here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg

from dataops_dagster import config
from dataops_dagster.errors import ConfigError

_MARKS = ("{{", "{%", "{#")
_TYPES = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
_NO_LITERAL = "="
"""No literal of Python's begins so: what stands behind it comes out as it is."""


def filled(given: Any, context: dg.ResolutionContext, *, file: Path) -> Any:
    """Return attributes with their templates filled in; raises `ConfigError` where one gives nothing."""
    schema = config.schema()
    return _filled(given, context, place=_Place(file, schema["$defs"], (schema,)))


@dataclass(frozen=True)
class _Place:
    """A place in the settings, by the schemas of which a value there fits one; none says anything."""

    file: Path
    definitions: Mapping[str, Any]
    schemas: tuple[Mapping[str, Any], ...]
    keys: tuple[str | int, ...] = ()

    @property
    def types(self) -> set[str]:
        """What it takes, as JSON Schema names it."""
        return {schema["type"] for schema in self._offered() if "type" in schema} or {"string"}

    def below(self, key: str | int) -> _Place:
        """Return the place of a key, or of an item of a list."""
        found = (_part(schema, key) for schema in self._offered())
        schemas = tuple(part for part in found if isinstance(part, dict))
        return replace(self, schemas=schemas, keys=(*self.keys, key))

    def _offered(self) -> Iterator[Mapping[str, Any]]:
        waiting = list(self.schemas)
        while waiting:
            schema = waiting.pop()
            if "$ref" in schema:
                schema = self.definitions[schema["$ref"].rpartition("/")[2]]
            yield schema
            waiting += [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


def _part(schema: Mapping[str, Any], key: str | int) -> Any:
    if isinstance(key, int):
        return schema.get("items")
    return schema.get("properties", {}).get(key) or schema.get("additionalProperties")


def _filled(given: Any, context: dg.ResolutionContext, *, place: _Place) -> Any:
    def inner(key: Any, value: Any) -> Any:
        return _filled(value, context.at_path(key), place=place.below(key))

    if isinstance(given, Mapping):
        return {key: inner(key, value) for key, value in given.items()}
    if isinstance(given, list):
        return [inner(i, value) for i, value in enumerate(given)]
    if not isinstance(given, str) or not any(mark in given for mark in _MARKS):
        return given
    value: Any = context.resolve_value(given)
    if value is None:
        raise ConfigError.at(
            f"{place.file}: {'.'.join(map(str, place.keys))}",
            "its template gives nothing",
            "set the environment variable that it names where the code location is started",
        )
    if _TYPES.get(type(value)) in place.types:
        return value
    if "string" in place.types:
        return context.resolve_value(_NO_LITERAL + given, as_type=str).removeprefix(_NO_LITERAL)
    return value == "true" if value in ("true", "false") else value
