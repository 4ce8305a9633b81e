"""Which written entries of a project have no effect, or contradict each other. Pure.

A resolver no longer shows these: it looks at what follows from the text, this at the text.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from dataops_dagster.meltano.entries import Key
from dataops_dagster.meltano.environments import EnvironmentPlugin
from dataops_dagster.meltano.model import Environment, Job, Place, Schedule
from dataops_dagster.meltano.nesting import Unnestable, flatten
from dataops_dagster.meltano.project import Project
from dataops_dagster.meltano.values import Table

Told: TypeAlias = Iterator[tuple[Place, str]]
"""Places, and what stands there in words."""

_Leaves: TypeAlias = Mapping[str, tuple[Any, Any]]


def duplicates(project: Project) -> Told:
    """Yield entries of a name that stood before; Meltano takes the first, and never these."""
    for dead in project.dead:
        what = "environment" if isinstance(dead, Environment) else dead.type
        yield dead.place, f"{what} {dead.name}"
    yield from _again("job", project.jobs)
    yield from _again("schedule", project.schedules)
    for environment in project.environment_entries.values():
        plugins = _mapping(_mapping(environment.raw.get("config")).get("plugins"))
        for type_, rows in plugins.items():
            names = set[Any]()
            for row in rows if isinstance(rows, list) else ():
                name = _mapping(row).get("name")
                if name in names and isinstance(row, Table):
                    yield row.at("name"), f"{environment.name}: {type_} {name}"
                names.add(name)


def _again(what: str, entries: Iterable[Job | Schedule]) -> Told:
    names = set[str]()
    for entry in entries:
        if entry.name in names:
            yield entry.place, f"{what} {entry.name}"
        names.add(entry.name)


def nulls(project: Project, environment: str) -> Told:
    """Yield settings that an environment sets to null, which leaves them as they are."""
    for (_, plugin), entry in _overrides(project, environment):
        for setting, (holder, key) in _leaves(entry.config).items():
            if holder[key] is None:
                yield _at(holder, key), f"{plugin} {setting}"


def clashes(project: Project, environment: str) -> Told:
    """Yield settings that are a mapping in the base and a value in an environment, or the reverse."""
    for key, entry in _overrides(project, environment):
        base = project.entries.get(key)
        ours, theirs = _leaves(entry.config), _leaves(base.config if base else None)
        first = {within: own for own in reversed(list(ours)) for within in _prefixes(own)}
        for setting in (*_values_in(ours, theirs), *_values_in(theirs, ours)):
            yield _at(*ours[first[setting]]), f"{key[1]} {setting}"


def _values_in(one: _Leaves, other: _Leaves) -> Iterator[str]:
    """Yield names that are values in `one`, and mappings in `other`."""
    mappings = {within for name in other for within in _prefixes(name) if within != name}
    for name, (holder, key) in one.items():
        if name in mappings and holder[key] not in (None, {}):
            yield name


def _prefixes(name: str) -> Iterator[str]:
    """Yield the names of all that a name is within, itself the last."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _overrides(project: Project, environment: str) -> ItemsView[Key, EnvironmentPlugin]:
    return project.environment_entries[environment].plugins.items()


def _leaves(config: Any) -> _Leaves:
    try:
        return flatten(_mapping(config))
    except Unnestable:
        return {}  # the resolver says so


def _at(holder: Any, key: Any) -> Place:
    return holder.at(key) if isinstance(holder, Table) else Place("", 1)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}
