"""What an environment's entry says, one plug-in after the other; follows none to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataops_dagster.meltano.definitions import TYPES
from dataops_dagster.meltano.entries import Key, named, plugin_name, underscored
from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.shapes import Malformed, listed
from dataops_dagster.meltano.values import Table, copied


@dataclass(frozen=True)
class EnvironmentEntry:
    """An environment's entry, and the first one in it for each plug-in."""

    name: str
    raw: Table
    place: Place
    plugins: Mapping[Key, EnvironmentPlugin] = field(default_factory=dict)

    @property
    def env(self) -> Any:
        """Its `env:` as it is written."""
        return self.raw.get("env") or {}


@dataclass(frozen=True)
class EnvironmentPlugin:
    """What an environment says of one plug-in."""

    raw: Table
    extras: Table
    config: Any

    @property
    def env(self) -> Any:
        """Its `env:` as it is written."""
        return self.raw.get("env") or {}


def environment_entry(raw: Any) -> EnvironmentEntry:
    """Read an environment; raises Malformed."""
    name = named(raw, "an environment")
    wrong = set(raw) - {"name", "config", "env", "state_id_suffix", "annotations"}
    if wrong:
        key = min(wrong)
        raise Malformed(raw.at(key), f"the environment {name} has the unknown key {key}")
    config = raw.get("config") or Table(raw.place)
    if not isinstance(config, Table):
        raise Malformed(raw.at("config"), f"the config of the environment {name} is no mapping")
    plugins = config.get("plugins") or Table(raw.place)
    if not isinstance(plugins, Table):
        raise Malformed(config.at("plugins"), f"plugins of the environment {name} are no mapping")
    found: dict[Key, EnvironmentPlugin] = {}
    for type_, rows in plugins.items():
        for row in _rows(type_, rows, plugins):
            key = type_, plugin_name(row)
            own = copied(row.get("config") or Table(row.place))
            found.setdefault(key, EnvironmentPlugin(row, underscored(row, _OWN), own))
    return EnvironmentEntry(name, raw, raw.place, found)


_OWN = frozenset({"name", "config", "env", "annotations"})


def _rows(type_: Any, rows: Any, table: Table) -> list[Any]:
    if type_ not in TYPES:
        raise Malformed(table.at(type_), f"{type_} is no type of plug-ins")
    found = listed(rows)
    if found is None:
        raise Malformed(table.at(type_), f"{type_} are no list")
    return found
