"""Which written entries of a project have no effect, or contradict each other. Pure.

What a resolver no longer shows is told here: it looks at the text, not at what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.nesting import Unnestable, flatten
from dataops_dagster.meltano.parsing import Table

Told: TypeAlias = Iterator[tuple[Place, str]]
"""Places, and what stands there in words."""


def duplicates(table: Table) -> Told:
    """Yield entries of a name that stood before; Meltano takes the first, and never these."""
    for section, word in (("environments", "environment"), ("jobs", "job"), ("schedules", "schedule")):
        yield from _again(table.get(section), f"the {word} ")
    for where, plugins in _plugins(table):
        for type_, rows in plugins.items():
            yield from _again(rows, f"{where}{type_} ")


def _again(rows: Any, what: str) -> Told:
    seen = set()
    for row in _tables(rows):
        name = row.get("name")
        if isinstance(name, str) and name in seen:
            yield row.at("name"), what + name
        seen.add(name if isinstance(name, str) else None)


def nulls(table: Table) -> Told:
    """Yield settings that an environment sets to null, which leaves them as they are."""
    for where, plugins in _plugins(table):
        for name, config in _configs(plugins) if where else ():
            for setting, (holder, key) in _leaves(config).items():
                if holder[key] is None:
                    yield _at(holder, key), f"{where}{name[1]} {setting}"


def clashes(table: Table) -> Told:
    """Yield settings that an environment makes a mapping of, or a value, where the base has the other."""
    (_, plugins), *environments = _plugins(table)
    base = {name: _leaves(config) for name, config in _configs(plugins)}
    for where, own in environments:
        for name, config in _configs(own):
            leaves, below = _leaves(config), base.get(name, {})
            for setting in [*_inside(leaves, below), *_inside(below, leaves)]:
                place = next(_at(*leaves[s]) for s in leaves if _contain(s, setting))
                yield place, f"{where}{name[1]} {setting}"


Leaves: TypeAlias = Mapping[str, tuple[Any, Any]]


def _inside(outer: Leaves, inner: Leaves) -> Iterator[str]:
    """Yield names of values in `outer` that are mappings in `inner`."""
    parents = {".".join(parts[:end]) for parts in _split(inner) for end in range(1, len(parts))}
    for name, (holder, key) in outer.items():
        if name in parents and holder[key] not in (None, {}):
            yield name


def _split(leaves: Leaves) -> Iterator[list[str]]:
    yield from (name.split(".") for name in leaves)


def _contain(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _plugins(table: Table) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the project's own plug-ins, then those of each environment, with where that is."""
    yield "", _mapping(table.get("plugins"))
    for environment in _tables(table.get("environments")):
        config = _mapping(environment.get("config"))
        yield f"{environment.get('name')}: ", _mapping(config.get("plugins"))


def _configs(plugins: Mapping[Any, Any]) -> Iterator[tuple[tuple[Any, Any], Table]]:
    """Yield the `config` of each plug-in's first entry."""
    seen = set()
    for type_, rows in plugins.items():
        for row in _tables(rows):
            name, config = (type_, str(row.get("name"))), row.get("config")
            if isinstance(config, Table) and name not in seen:
                yield name, config
            seen.add(name)


def _leaves(config: Table) -> Leaves:
    try:
        return flatten(config)
    except Unnestable:
        return {}  # the resolver says so


def _at(holder: Any, key: Any) -> Place:
    return holder.at(key) if isinstance(holder, Table) else Place("", 1)


def _tables(rows: Any) -> Iterator[Table]:
    if isinstance(rows, list):
        yield from (row for row in rows if isinstance(row, Table))


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}
