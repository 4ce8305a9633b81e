"""Which settings a plug-in has: those that are declared, the extras of its type, and what is set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.nesting import flatten
from dataops_dagster.meltano.shapes import Malformed, check_keys
from dataops_dagster.meltano.values import Rows, Table

KINDS = frozenset(
    [
        "string",
        "integer",
        "boolean",
        "decimal",
        "date_iso8601",
        "email",
        "password",
        "oauth",
        "options",
        "file",
        "array",
        "object",
        "hidden",
    ]
)
_SECRET = frozenset({"password", "oauth"})
TYPES = {
    "extractors": "extractor",
    "loaders": "loader",
    "transforms": "transform",
    "orchestrators": "orchestrator",
    "transformers": "transformer",
    "files": "file",
    "utilities": "utility",
    "mappers": "mapper",
    "mappings": "mapping",
}
"""The types of plug-ins in Meltano's order, each with its word for one."""


@dataclass(frozen=True)
class Definition:
    """A setting that a plug-in has, and its default."""

    name: str
    kind: str | None = None
    value: Any = None
    aliases: tuple[str, ...] = ()
    env: str | None = None
    env_aliases: tuple[str, ...] = ()
    options: Any = ()
    is_sensitive: bool = False
    processor: Any = None
    post_processor: Any = None
    place: Place | None = None
    owner: str = ""

    @property
    def is_extra(self) -> bool:
        """Whether it is one of the settings that only Meltano reads."""
        return self.name.startswith("_")


def declared(raw: Any, owner: str, lines: Mapping[str, Place] | None = None) -> list[Definition]:
    """Read a `settings:` list; raises Malformed. `lines` are places of names, where known better."""
    if not raw:
        return []
    if not isinstance(raw, list):
        raise Malformed(getattr(raw, "place", None), "settings are no list")
    return [_declared(entry, owner, lines or {}) for entry in raw if entry is not None]


def _declared(raw: Any, owner: str, lines: Mapping[str, Place]) -> Definition:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        raise Malformed(getattr(raw, "place", None), "a setting has no name that is a text")
    place = lines.get(raw["name"]) or getattr(raw, "place", None)
    check_keys(raw, place, f"the setting {raw['name']}")
    kind = raw.get("kind") or None
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        raise Malformed(place, f"the setting {raw['name']} has the unknown kind {kind}")
    flagged = raw.get("hidden") if kind == "hidden" else raw.get("sensitive")
    return Definition(
        name=raw["name"],
        kind="string" if kind in {*_SECRET, "hidden"} and flagged else kind,
        value=raw.get("value"),
        aliases=_texts(raw, "aliases", place),
        env=raw.get("env"),
        env_aliases=_texts(raw, "env_aliases", place),
        options=raw.get("options") or (),
        is_sensitive=bool(kind in _SECRET or raw.get("sensitive")),
        processor=raw.get("value_processor"),
        post_processor=raw.get("value_post_processor"),
        place=place,
        owner=owner,
    )


def _texts(raw: dict[Any, Any], key: str, place: Place | None) -> tuple[str, ...]:
    values = raw.get(key) or []  # of a text Meltano takes each letter for one
    if not isinstance(values, list | str) or not all(isinstance(v, str) for v in values):
        raise Malformed(place, f"{key} of a setting are no list of texts")
    return tuple(values)


def extras(
    type_: str, name: str, defaults: Mapping[str, Any], place: Place, owner: str
) -> list[Definition]:
    """Return the extras that a definition of this type has; `defaults` are its own values."""
    known = [
        replace(extra, value=defaults[extra.name], place=place, owner=owner)
        if defaults.get(extra.name) is not None
        else replace(extra, owner=owner)
        for extra in _EXTRAS.get((type_, name), _EXTRAS.get(type_, ()))
    ]
    return [*known, *undeclared(known, defaults, owner, with_default=True)]


def undeclared(
    existing: Iterable[Definition],
    config: Mapping[Any, Any],
    owner: str,
    *,
    with_default: bool = False,
) -> list[Definition]:
    """Return a setting for each leaf of a configuration that none exists for yet.

    Its kind is guessed from the value. Raises Unnestable.
    """
    names = {definition.name for definition in existing}
    found = []
    for name, (table, key) in flatten(config).items():
        if name not in names:
            value = table[key]
            place = table.at(key) if isinstance(table, Table) else None
            default = value if with_default else None
            found.append(
                Definition(name, kind_of(value), default, place=place, owner=owner)
            )  # fmt: skip
    return found


def kind_of(value: Any) -> str | None:
    """Guess a kind from a written value; a text tells none."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float() | Decimal():
            return "decimal"
        case dict():
            return "object"
        case list():
            return "array"
        case _:
            return None


_LOG_PARSER = Definition("_log_parser", value="singer-sdk")
_ALL = Rows(Place("", 0))
_ALL.append("*.*")
_EXTRAS: dict[Any, tuple[Definition, ...]] = {
    "extractors": (
        _LOG_PARSER,
        Definition("_catalog"),
        Definition("_state"),
        Definition("_load_schema", value="$MELTANO_EXTRACTOR_NAMESPACE"),
        Definition("_select", "array", _ALL),
        Definition("_metadata", "object", {}, ("metadata",), processor="nest_object"),
        Definition("_schema", "object", {}, processor="nest_object"),
        Definition("_select_filter", "array", []),
        Definition("_use_cached_catalog", "boolean", True),
    ),
    "loaders": (_LOG_PARSER, Definition("_dialect", value="$MELTANO_LOADER_NAMESPACE")),
    "mappers": (
        _LOG_PARSER,
        Definition("_mappings", "array", {}, ("mappings",)),
        Definition("_mapping_name", "string", None, ("mapping_name",)),
    ),
    "transforms": (
        Definition("_package_name", value="$MELTANO_TRANSFORM_NAMESPACE"),
        Definition("_vars", "object", {}),
    ),
    "files": (Definition("_update", "object", {}, ("update",)),),
    ("utilities", "superset"): (Definition("_config_path"),),
}
