"""Which value each setting of a plug-in has in an environment, and which layer says so. Pure.

Equal to what `meltano config` answers for Meltano 4; what it would fail for is `failure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dataops_dagster.meltano.casting import Uncastable, finish
from dataops_dagster.meltano.definitions import Definition, undeclared
from dataops_dagster.meltano.entries import Base, Entry
from dataops_dagster.meltano.expanding import Unexpandable, expand, names
from dataops_dagster.meltano.level import Conflict, Env, Flat, Level, variable_name
from dataops_dagster.meltano.lineage import Parent, namespace_of, variant_of
from dataops_dagster.meltano.model import Configuration, Plugin, Setting, Shape
from dataops_dagster.meltano.nesting import Unnestable, flatten
from dataops_dagster.meltano.parsing import Table, contains_refused
from dataops_dagster.meltano.project import Project
from dataops_dagster.meltano.world import Secrets, World, world_of

_NO_ANSWER = (Conflict, Uncastable, Unexpandable, Unnestable)
_SETTINGS = 2000
"""A plug-in with more settings than this is not resolved."""


def resolve(
    project: Project,
    plugin: Plugin,
    environment: str | None,
    *,
    variables: Mapping[str, str] | None = None,
    dotenv: Mapping[str, str] | None = None,
    secrets: Secrets = Secrets.SHOWN,
) -> Configuration:
    """Return all settings of a plug-in in an environment (None: in none), extras among them.

    Without `variables` values keep the names of variables in them and no process is looked at.
    With them (a process's environment, and `dotenv` of a file) the values are put in.
    """
    given = {"variables": variables, "dotenv": dotenv, "secrets": secrets}
    return next(_resolved(project, [plugin], environment, **given))


def resolve_all(
    project: Project,
    environments: Iterable[str | None],
    *,
    variables: Mapping[str, str] | None = None,
    dotenv: Mapping[str, str] | None = None,
    secrets: Secrets = Secrets.SHOWN,
) -> Iterator[Configuration]:
    """Yield what `resolve` returns for each plug-in in each environment."""
    given = {"variables": variables, "dotenv": dotenv, "secrets": secrets}
    for environment in environments:
        yield from _resolved(project, project.plugins, environment, **given)


def _resolved(
    project: Project, plugins: Iterable[Plugin], environment: str | None, **given: Any
) -> Iterator[Configuration]:
    try:
        world = world_of(project, environment, **given)
    except _NO_ANSWER as problem:
        for plugin in plugins:
            failure = project.failure or str(problem)
            yield Configuration(plugin, environment, {}, failure, failure)
        return
    for plugin in plugins:
        yield _configuration(world, plugin, environment)


def _configuration(world: World, plugin: Plugin, environment: str | None) -> Configuration:
    entry = world.project.entries[plugin.type, plugin.name]
    parent = world.project.parents[entry.key]
    whole = world.project.failure
    try:
        if parent.base is None:
            raise Conflict(parent.failure)
        level = _level(world, entry, parent)
    except _NO_ANSWER as problem:
        failure = whole or str(problem)
        return Configuration(plugin, environment, {}, failure, failure)
    plain, failure = _settings(level, extras=False)
    extras, extras_failure = _settings(level, extras=True)
    return Configuration(
        plugin,
        environment,
        plain | extras,
        whole or failure,
        whole or extras_failure,
        _shape(parent.base),
    )


def _settings(level: Level, *, extras: bool) -> tuple[dict[str, Setting], str]:
    """Return the extras or the others; or none, and why."""
    try:
        wanted = [d for d in level.definitions if d.is_extra is extras]
        for definition in wanted:
            level.answer(definition)  # one that a later one of its name replaces may fail, too
        last = {definition.name: definition for definition in wanted}
        return {name: _setting(level, definition) for name, definition in last.items()}, ""
    except RecursionError:
        return {}, "its settings are nested too deeply"
    except _NO_ANSWER as problem:
        return {}, str(problem)


def _setting(level: Level, definition: Definition) -> Setting:
    answer = level.answer(definition)
    refused = contains_refused(answer.value)
    if refused:
        place = refused.unreadable.place
        raise Conflict(f"{place.path}:{place.line}: {refused.unreadable.reason}")
    is_final = definition.is_extra or (answer.is_open and isinstance(answer.value, str))
    return Setting(
        name=definition.name,
        value=answer.value if is_final else finish(definition, answer.value),
        layer=answer.layer,
        plugin=answer.plugin,
        kind=definition.kind,
        sensitive=definition.is_sensitive,
        variables=answer.variables,
        place=answer.place,
    )


def _level(world: World, entry: Entry, parent: Parent) -> Level:
    """Build the levels of a plug-in and all that it inherits from."""
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
    word = _word(entry.type)
    env = env.over({variable_name("meltano", word, key): value for key, value in info.items()})
    env = env.over(_map(entry.env, "env", entry), entry.env)
    if world.environment is None:
        return env
    env = _environment_env(world, env)
    found = world.environment.plugins.get((entry.type, entry.name))
    return env.over(_map(found.env, "env", entry), found.env) if found else env


def _environment_env(world: World, env: Env) -> Env:
    """Lay the environment's own variables over others; they may name those."""
    assert world.environment
    raw = world.environment.env
    if not isinstance(raw, dict):
        raise Conflict(f"env of the environment {world.environment.name} is no mapping")
    if world.expansion.is_static:
        found = {name: names(value) for name, value in raw.items()}
        return env.over(raw, raw, {name: named for name, named in found.items() if named})
    expanded = {k: expand(v, env.values, world.expansion.missing) for k, v in raw.items()}
    return env.over(expanded, raw)


def _map(value: Any, key: str, entry: Entry) -> Mapping[Any, Any]:
    if value and not isinstance(value, dict):
        raise Conflict(f"{key} of {entry.label} is no mapping")
    return value or {}


def _verb(type_: str) -> str:
    """Return Meltano's word for what plug-ins of a type do, as it stands in variables."""
    odd = {"transforms": "transform", "utilities": "utilize", "mappers": "map"}
    return odd.get(type_, type_[:-3])


def _word(type_: str) -> str:
    return "utility" if type_ == "utilities" else type_[:-1]


def _shape(base: Base) -> Shape:
    if base.type in {"extractors", "loaders", "mappers"}:
        return Shape.NESTED
    return Shape.TEXTS if (base.type, base.name) == ("orchestrators", "airflow") else Shape.FLAT


__all__ = ["Secrets", "resolve", "resolve_all"]
