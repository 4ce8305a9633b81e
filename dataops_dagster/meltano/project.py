"""Reads a Meltano project from the files of a commit; works out no value of any setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile, zip_longest
from typing import Any, TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from dataops_dagster.meltano.definitions import TYPES
from dataops_dagster.meltano.entries import (
    Entry,
    Key,
    mapping_of,
    plugin_entries,
)
from dataops_dagster.meltano.environments import EnvironmentEntry, environment_entry
from dataops_dagster.meltano.files import Files
from dataops_dagster.meltano.including import Tree, Written, read_all
from dataops_dagster.meltano.lineage import Parent, namespace_of, parents, variant_of
from dataops_dagster.meltano.model import (
    Environment,
    Job,
    Place,
    Plugin,
    Schedule,
    Unreadable,
)
from dataops_dagster.meltano.shapes import Malformed, check_keys, listed
from dataops_dagster.meltano.values import Rows, Table

_SECTIONS = frozenset(
    [
        "version",
        "plugins",
        "schedules",
        "environments",
        "jobs",
        "env",
        "requires_meltano",
        "annotations",
    ]
)
_PLUGINS = 2000
_ENVIRONMENTS = 200


@dataclass(frozen=True)
class Project:
    """A Meltano project as its files say it.

    Of several entries for one plug-in or environment the first is here; `dead` are the others.
    `failure` says why Meltano would answer nothing about the project.
    """

    plugins: tuple[Plugin, ...] = ()
    environments: tuple[Environment, ...] = ()
    jobs: tuple[Job, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    default_environment: str | None = None
    project_id: str | None = None
    env: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Unreadable, ...] = ()
    failure: str = ""
    dead: tuple[Plugin | Environment, ...] = ()
    settings: Table = field(default_factory=lambda: Table(Place("", 1)), repr=False)
    entries: Mapping[Key, Entry] = field(default_factory=dict, repr=False)
    parents: Mapping[Key, Parent] = field(default_factory=dict, repr=False)
    environment_entries: Mapping[str, EnvironmentEntry] = field(default_factory=dict, repr=False)

    def plugin(self, type_: str, name: str) -> Plugin | None:
        """Return a plug-in, if the project has it."""
        return next((p for p in self.plugins if (p.type, p.name) == (type_, name)), None)


def load(files: Files, root: str = "") -> Project:
    """Read the project in the folder `root` of a commit; what cannot be read is in `problems`."""
    tree = Tree.of(files, root)
    written = read_all(tree)
    table = written.table
    found = [entry for _, entry in zip(range(_PLUGINS), _plugins(written), strict=False)]
    entries: dict[Key, Entry] = {}
    for entry in found:
        entries.setdefault(entry.key, entry)
    linked = parents(found, entries, tree, written)
    _check_top(written)
    environments = _environments(written)
    first = {e.name: e for e in reversed(environments)}
    jobs = tuple(filter(None, _each(written, "jobs", _job)))
    schedules = tuple(_each(written, "schedules", _schedule))
    return Project(
        plugins=tuple(_plugin(entry, linked[key]) for key, entry in entries.items()),
        environments=tuple(_environment(e) for e in environments if first[e.name] is e),
        jobs=jobs,
        schedules=schedules,
        default_environment=_text(table.get("default_environment")),
        project_id=_text(table.get("project_id")),
        env=_env(table.get("env"), table, written),
        problems=tuple(written.problems),
        failure=_failure(written),
        dead=(
            *(_plugin(e, linked[e.key]) for e in found if entries[e.key] is not e),
            *(_environment(e) for e in environments if first[e.name] is not e),
        ),
        settings=_settings(table),
        entries=entries,
        parents=linked,
        environment_entries=first,
    )


_T = TypeVar("_T")


def _plugins(written: Written) -> Iterator[Entry]:
    """Read the entries of all types, in Meltano's order of the types."""
    table = written.table
    plugins = table.get("plugins") or Table(table.place)
    if not isinstance(plugins, Table):
        written.fail(table.at("plugins"), "plugins are no mapping")
        return
    for type_, rows in plugins.items():
        if type_ not in TYPES and listed(rows) != []:
            written.fail(plugins.at(type_), f"{type_} is no type of plug-ins")
    for type_ in TYPES:
        rows = plugins.get(type_, Rows(plugins.place))
        for entries in _read(written, rows, plugins.at(type_), partial(plugin_entries, type_)):
            yield from entries


def _each(written: Written, section: str, read: Callable[[Any], _T]) -> Iterator[_T]:
    rows = written.table.get(section) or []
    yield from _read(written, rows, written.table.at(section), read)


def _environments(written: Written) -> list[EnvironmentEntry]:
    """Read the environments, as far as Meltano finds them: it fails over an empty entry."""

    def read(raw: Any) -> EnvironmentEntry | None:
        return None if raw is None else environment_entry(raw)

    found = list(_each(written, "environments", read))
    if None in found:
        place = written.table.at("environments")
        reason = "an entry is empty, and Meltano finds no environment after it"
        written.problems.append(Unreadable(place, reason))
    return [entry for entry in takewhile(bool, found) if entry][:_ENVIRONMENTS]


def _check_top(written: Written) -> None:
    """Note keys that Meltano cannot take, and a `requires_meltano` that names no versions."""
    try:
        check_keys(written.table, written.table.place, "the project")
    except Malformed as problem:
        written.fail(problem.place or written.table.place, problem.reason)
    required = written.table.get("requires_meltano") or ""
    try:
        SpecifierSet(required)
    except (InvalidSpecifier, TypeError, AttributeError):
        written.fail(written.table.at("requires_meltano"), "requires_meltano names no versions")


def _read(written: Written, rows: Any, place: Place, read: Callable[[Any], _T]) -> Iterator[_T]:
    """Read each entry of a list; one that is malformed is noted and left out."""
    found = listed(rows)
    if found is None:
        written.fail(place, "this is no list")
        return
    places = rows.places if isinstance(rows, Rows) else []
    for row, at in zip_longest(found, places, fillvalue=place):
        try:
            yield read(row)
        except Malformed as problem:  # noqa: PERF203  # one wrong entry spoils no other
            written.fail(problem.place or at, problem.reason)


def _plugin(entry: Entry, parent: Parent) -> Plugin:
    base = parent.base
    raw, below = entry.raw, base.raw if base else {}

    def either(key: str) -> Any:
        return raw.get(key) if raw.get(key) is not None else below.get(key)

    return Plugin(
        type=entry.type,
        name=entry.label,
        place=entry.place,
        namespace=namespace_of(entry, parent),
        variant=variant_of(entry, parent),
        pip_url=_text(either("pip_url")),
        executable=_text(either("executable")),
        inherit_from=_text(entry.inherits),
        parent=entry.name if entry.mapping else None,
        capabilities=tuple(map(str, _list(either("capabilities")))),
        definition=base.lock if base and not parent.chain else None,
        is_unlocked=parent.is_unlocked,
    )


def _environment(entry: EnvironmentEntry) -> Environment:
    return Environment(
        name=entry.name,
        place=entry.place,
        plugins={key: plugin.raw.place for key, plugin in entry.plugins.items()},
        env=entry.env if isinstance(entry.env, dict) else {},
        state_id_suffix=_text(entry.raw.get("state_id_suffix")),
    )


def _job(raw: Any) -> Job | None:
    if raw is None:
        return None  # Meltano does not mind
    if set(mapping_of(raw, "a job")) - {"annotations"} != {"name", "tasks"}:
        raise Malformed(raw.place, "a job needs the keys name and tasks, and no other")
    tasks = raw["tasks"] if isinstance(raw["tasks"], list) else [raw["tasks"]]
    return Job(str(raw["name"]), tuple(tuple(_blocks(task)) for task in tasks), raw.place)


def _blocks(task: Any) -> Iterator[str]:
    for item in task if isinstance(task, list) else [task]:
        if isinstance(item, list):
            yield from _blocks(item)
        else:
            yield from str(item).split()


def _schedule(raw: Any) -> Schedule:
    job = mapping_of(raw, "a schedule").get("job")
    name = str(raw.get("name"))
    needed = {"name", "interval"} | (set() if job else {"extractor", "loader", "transform"})
    missing = sorted(needed - set(raw))
    if missing:
        raise Malformed(raw.place, f"the schedule {name} has no {missing[0]}")
    runs = (job,) if job else (raw["extractor"], raw["loader"])
    env = raw.get("env") if isinstance(raw.get("env"), dict) else {}
    return Schedule(name, _text(raw["interval"]), tuple(map(str, runs)), raw.place, env)


def _env(raw: Any, table: Table, written: Written) -> Mapping[str, Any]:
    if raw and not isinstance(raw, Table):
        written.fail(table.at("env"), "env is no mapping")
    return raw if isinstance(raw, Table) else Table(table.place)


def _settings(table: Table) -> Table:
    found = Table(table.place)
    for key, value in table.items():
        if key not in _SECTIONS:
            found[key] = value
            found.places[key] = table.at(key)
    return found


def _failure(written: Written) -> str:
    if not written.failures:
        return ""
    first = written.failures[0]
    return f"{first.place.path}:{first.place.line}: {first.reason}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()
