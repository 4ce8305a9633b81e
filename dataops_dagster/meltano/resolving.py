"""Which value each setting of a plug-in has in an environment, and which layer says so. Pure.

Equal to what `meltano config` answers for Meltano 4; what it would fail for is `failure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dataops_dagster.meltano.casting import Uncastable, finish
from dataops_dagster.meltano.definitions import Definition
from dataops_dagster.meltano.entries import Base
from dataops_dagster.meltano.expanding import Unexpandable
from dataops_dagster.meltano.level import Conflict, Level
from dataops_dagster.meltano.levels import level_of
from dataops_dagster.meltano.model import Configuration, Plugin, Setting, Shape
from dataops_dagster.meltano.nesting import Unnestable
from dataops_dagster.meltano.project import Project
from dataops_dagster.meltano.values import contains_refused
from dataops_dagster.meltano.world import Secrets, World, world_of

_NO_ANSWER = (Conflict, Uncastable, Unexpandable, Unnestable)


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
        for one in (entry, *parent.chain):
            if one.failure:
                raise Conflict(one.failure)
        level = level_of(world, entry, parent)
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


def _shape(base: Base) -> Shape:
    if base.type in {"extractors", "loaders", "mappers"}:
        return Shape.NESTED
    return Shape.TEXTS if (base.type, base.name) == ("orchestrators", "airflow") else Shape.FLAT


__all__ = ["Secrets", "resolve", "resolve_all"]
