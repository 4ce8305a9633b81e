"""Builds what a plug-in's settings are looked up in: a level for itself, and each that it inherits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataops_dagster.meltano.definitions import TYPES, Definition, undeclared
from dataops_dagster.meltano.entries import Entry
from dataops_dagster.meltano.env import Env, variable_name
from dataops_dagster.meltano.expanding import expand, names
from dataops_dagster.meltano.level import Conflict, Flat, Level
from dataops_dagster.meltano.lineage import Parent, namespace_of, variant_of
from dataops_dagster.meltano.nesting import flatten
from dataops_dagster.meltano.values import Table
from dataops_dagster.meltano.world import World

_SETTINGS = 2000
"""A plug-in with more settings than this is not resolved."""


def level_of(world: World, entry: Entry, parent: Parent) -> Level:
    """Return the level of a plug-in, above those of all that it inherits from.

    Raises Conflict, Unnestable or Unexpandable where what is written makes none.
    """
    chain = (entry, *parent.chain)
    level: Level | None = None
    base = parent.base
    assert base
    settings, extras = list(base.settings), list(base.extras)
    prefixes = [base.name, base.namespace]
    for position in reversed(range(len(chain))):
        one, above = chain[position], Parent(chain[position + 1 :], base)
        settings, extras = _definitions(one, settings, extras)
        own = [one.name, namespace_of(one, above)]
        prefixes = [*own, *prefixes, f"meltano_{_verb(one.type)}"]
        level = _one_level(
            world, one, above, level,
            definitions=[*settings, *extras], own=own, prefixes=prefixes,
        )  # fmt: skip
    assert level
    return level


def _one_level(
    world: World,
    entry: Entry,
    above: Parent,
    parent: Level | None,
    *,
    definitions: list[Definition],
    own: list[str],
    prefixes: list[str],
) -> Level:
    written = None
    if world.environment is not None:
        found = world.environment.plugins.get((entry.type, entry.name))
        empty = Table(entry.place)
        written = _together(found.config, found.extras) if found else empty
        definitions = [*definitions, *undeclared(definitions, written, entry.label)]
    if len(definitions) > _SETTINGS:
        raise Conflict(f"{entry.label} has more than {_SETTINGS} settings")
    return Level(
        label=entry.label,
        definitions=definitions,
        env=_env(world, entry, above, parent),
        base=_flat(entry.config, entry.extras),
        prefixes=tuple(dict.fromkeys(own)),
        expansion=world.expansion,
        environment=None if written is None else flatten(written),
        written_prefixes=tuple(dict.fromkeys(prefixes)),
        reads_env_aliases=entry.inherits is None,
        parent=parent,
    )


def _definitions(
    entry: Entry, settings: list[Definition], extras: list[Definition]
) -> tuple[list[Definition], list[Definition]]:
    """Return the settings and extras of an entry, from those of what it inherits from."""
    new = {definition.name for definition in entry.settings}
    kept = [definition for definition in settings if definition.name not in new]
    kept += entry.settings
    if isinstance(entry.config, Table):
        kept += undeclared(kept, entry.config, entry.label)
    else:
        kept = settings  # then Meltano falls back to what is inherited, and reads no value
    return kept, [*extras, *undeclared(extras, entry.extras, entry.label)]


def _flat(config: Any, extras: Table) -> Flat | None:
    return flatten(_together(config, extras)) if isinstance(config, Table) else None


def _together(config: Any, extras: Table) -> Table:
    """Return a configuration and the extras beside it as one."""
    table = Table(extras.place)
    if not isinstance(config, Table):
        raise Conflict("config in the environment is no mapping")
    table.update(config)
    table.places |= config.places
    table.update(extras)
    table.places |= extras.places
    return table


def _env(world: World, entry: Entry, above: Parent, parent: Level | None) -> Env:
    """Return the variables of a plug-in, the weakest laid down first."""
    env = parent.env.under(world.env) if parent else world.env
    info = {
        "name": entry.name, "namespace": namespace_of(entry, above),
        "variant": variant_of(entry, above),
    }  # fmt: skip
    word = TYPES[entry.type]
    env = env.over({variable_name("meltano", word, key): value for key, value in info.items()})
    env = env.over(_map(entry.env, "env", entry), entry.env)
    if world.environment is None:
        return env
    env = _environment_env(world, env)
    found = world.environment.plugins.get((entry.type, entry.name))
    return env.over(_map(found.env, "env", entry), found.env) if found else env


def _environment_env(world: World, env: Env) -> Env:
    """Lay the environment's own variables over others; they may name those."""
    entry = world.environment
    assert entry
    raw = entry.env
    if not isinstance(raw, dict):
        raise Conflict(f"env of the environment {entry.name} is no mapping")
    if world.expansion.is_static:
        found = {name: names(value) for name, value in raw.items()}
        return env.over(raw, raw, {name: named for name, named in found.items() if named})
    missing = world.expansion.missing
    expanded = {k: expand(v, env.values, missing) for k, v in raw.items()}
    # Of no effect here, but in strict mode it may fail.
    expand(entry.raw.get("state_id_suffix"), {**world.expansion.dotenv, **env.values}, missing)
    return env.over(expanded, raw)


def _map(value: Any, key: str, entry: Entry) -> Mapping[Any, Any]:
    if value and not isinstance(value, dict):
        raise Conflict(f"{key} of {entry.label} is no mapping")
    return value or {}


def _verb(type_: str) -> str:
    """Return Meltano's word for what plug-ins of a type do, as it stands in variables."""
    odd = {"transforms": "transform", "utilities": "utilize", "mappers": "map"}
    return odd.get(type_, type_[:-3])
