"""What the entries of `meltano.yml` and the lock files say, one by one; follows none to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dataops_dagster.meltano.definitions import Definition, declared, extras
from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.shapes import (
    Malformed,
    check_keys,
    check_lists,
    check_parts,
    listed,
    unusable,
)
from dataops_dagster.meltano.values import Table, copied

Key = tuple[str, str]
"""The type of a plug-in, and the name that it is asked for by."""

PARTS = frozenset(
    [
        "name",
        "inherit_from",
        "namespace",
        "variant",
        "pip_url",
        "python",
        "executable",
        "capabilities",
        "settings_group_validation",
        "settings",
        "commands",
        "requires",
        "requires_meltano",
        "config",
        "default_variant",
        "env",
        "annotations",
    ]
)
_SHOWN = frozenset({"hidden", "label", "logo_url", "description"})
DESCRIBED = _SHOWN | frozenset(
    "original deprecated docs repo supported_python_versions variants is_default_variant".split()  # noqa: SIM905  # shorter to read
)


@dataclass(frozen=True)
class Base:
    """A definition that no entry of the project gives: of a lock file, or of a custom plug-in."""

    type: str
    name: str
    namespace: str
    variant: str | None
    settings: tuple[Definition, ...]
    extras: tuple[Definition, ...]
    raw: Mapping[Any, Any]
    place: Place
    lock: str | None = None


@dataclass(frozen=True)
class Entry:
    """A plug-in's entry. A mapping has its own `label`; its `name` is the mapper's.

    `failure` says why Meltano answers nothing for it, although the project is read.
    """

    type: str
    name: str
    raw: Table
    config: Any
    extras: Table
    settings: tuple[Definition, ...]
    place: Place
    custom: Base | None = None
    mapping: str | None = None
    failure: str = ""

    @property
    def label(self) -> str:
        """The name that it is asked for by."""
        return self.mapping or self.name

    @property
    def key(self) -> Key:
        """What tells it from all other live entries."""
        return self.type, self.label

    @property
    def inherits(self) -> str | None:
        """The name in `inherit_from`, unless it is its own."""
        given = self.raw.get("inherit_from") or None
        return given if given != self.name else None

    @property
    def variant(self) -> str:
        """The variant that its lock file has to be of."""
        own = self.raw.get("variant")
        return own if own is not None else self.default_variant

    @property
    def default_variant(self) -> str:
        """What it is of where nothing says it."""
        return str(self.raw.get("default_variant", "default"))

    @property
    def lock_name(self) -> str:
        """The path of its lock file, from the project's folder."""
        variant = f"--{self.variant}" if self.variant else ""
        return f"plugins/{self.type}/{self.inherits or self.name}{variant}.lock"

    @property
    def env(self) -> Any:
        """Its `env:` as it is written."""
        return self.raw.get("env") or {}


def mapping_of(raw: Any, what: str) -> Table:
    """Return an entry as the mapping that it has to be; raises Malformed."""
    if not isinstance(raw, Table):
        raise Malformed(getattr(raw, "place", None), f"{what} is no mapping")
    check_keys(raw, raw.place, what)
    return raw


def named(raw: Any, what: str) -> str:
    """Return an entry's name, which stands in the names of states, too; raises Malformed."""
    table = mapping_of(raw, what)
    name = table.get("name")
    if not isinstance(name, str):
        raise Malformed(table.place, f"{what} has no name that is a text")
    if ":" in name:
        raise Malformed(table.at("name"), f"the name {name} has a colon in it")
    return name


def plugin_name(raw: Any) -> str:
    """Return the name of a plug-in's entry; raises Malformed."""
    name = named(raw, "a plug-in")
    if "plugin_type" in raw:
        raise Malformed(raw.at("plugin_type"), f"{name} has the key plugin_type")
    return name


def plugin_entries(type_: str, raw: Any) -> list[Entry]:
    """Read a plug-in's entry: itself, and the mappings of a mapper. Raises Malformed."""
    name = plugin_name(raw)
    check_parts(raw, raw.place, name)
    found = [_entry(type_, name, raw)]
    if type_ == "mappers":
        mappings = listed(raw.get("mappings", []))
        if mappings is None:
            raise Malformed(raw.at("mappings"), f"the mappings of {name} are no list")
        for mapping in mappings:
            if not isinstance(mapping, Table):
                raise Malformed(raw.at("mappings"), f"a mapping of {name} is no mapping")
            label = mapping.get("name")
            own = label if isinstance(label, str) else None
            found.append(_entry(type_, name, _as_plugin(raw, mapping), own))
    return found


def _as_plugin(mapper: Table, mapping: Table) -> Table:
    """Return the mapper's entry with the mapping's configuration, which is how Meltano has it."""
    table: Table = copied(mapper)
    table.place = mapping.place
    table.places = dict(mapper.places)
    table |= {
        "mapping": True, "mapping_name": mapping.get("name"), "config": mapping.get("config")
    }  # fmt: skip
    table.places |= dict.fromkeys(("mapping", "mapping_name"), mapping.place)
    table.places["config"] = mapping.at("config")
    return table


def _entry(type_: str, name: str, raw: Table, mapping: str | None = None) -> Entry:
    settings = tuple(declared(raw.get("settings"), name))
    inherits = (raw.get("inherit_from") or name) != name
    custom = None
    if raw.get("namespace") and not inherits:
        check_lists(raw, raw.place, name)
        custom = Base(
            type_, name, raw["namespace"], raw.get("variant"), settings,
            tuple(extras(type_, name, {}, raw.place, name)), raw, raw.place,
        )  # fmt: skip
    known = PARTS | (DESCRIBED if custom else _SHOWN)
    config = copied(raw.get("config") or Table(raw.place))
    rest = underscored(raw, known)
    failure = unusable(raw if custom else {**raw, "variants": None}, name)
    return Entry(
        type_, name, raw, config, rest, settings, raw.place, custom, mapping, failure
    )  # fmt: skip


def underscored(raw: Table, known: Iterable[str]) -> Table:
    """Return an entry's other keys with the underscore that makes them extras."""
    table = Table(raw.place)
    for key, value in raw.items():
        if key not in known:
            table[f"_{key}"] = value
            table.places[f"_{key}"] = raw.at(key)
    return table
