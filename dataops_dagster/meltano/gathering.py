"""Gathers all that a commit's files say of a Meltano project, in every environment, into a `Reading`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any, TypeVar

from dataops_dagster.meltano import oddities
from dataops_dagster.meltano.definitions import extras
from dataops_dagster.meltano.entries import Base, Entry
from dataops_dagster.meltano.files import LARGEST, Files, Kind
from dataops_dagster.meltano.lineage import Parent
from dataops_dagster.meltano.model import Configuration, Place, Unreadable
from dataops_dagster.meltano.parsing import NODES, read_yaml
from dataops_dagster.meltano.project import Project, load
from dataops_dagster.meltano.reading import MANIFEST, Key, Reading
from dataops_dagster.meltano.resolving import resolve
from dataops_dagster.meltano.schedules import FOLDER, Pipeline, pipeline, timers

_SETTINGS = 200_000
"""How many settings are worked out, in all environments together; an inherited one at each level."""

_PIPELINES = 500
"""How many pipelines are read."""

_PIPELINE_BYTES = 4 * LARGEST
"""How large they may be together: reading takes a while."""


def gather(files: Files) -> Reading | None:
    """Read the project at the top of a commit; None if there is none.

    What cannot be read is in `problems`; the rest is there.
    """
    if MANIFEST not in files.kinds():
        return None
    project = load(files)
    pipelines, problems = _pipelines(files)
    configurations, left_out = _configurations(project)
    environments = {environment.name: environment for environment in project.environments}
    return Reading(
        plugins={(plugin.type, plugin.name): plugin for plugin in project.plugins},
        environments=environments,
        jobs=_first({job.name: job} for job in project.jobs),
        locks={
            parent.base.lock: _digest(parent.base.raw)
            for parent in project.parents.values()
            if parent.base and parent.base.lock
        },
        timers=timers(project.schedules, pipelines),
        properties={
            **{
                ("schedule", each.name, "env", str(name)): value
                for each in reversed(project.schedules)
                for name, value in each.env.items()
            },
            **{
                ("pipeline", each.name, *setting): value
                for each in pipelines
                for setting, value in each.settings.items()
            },
        },
        env=project.env,
        project_id=project.project_id,
        configurations=configurations,
        problems=(*project.problems, *problems, *left_out),
        failure=project.failure,
        duplicates=tuple(oddities.duplicates(project)),
        nulls={name: tuple(oddities.nulls(project, name)) for name in environments},
        clashes={name: tuple(oddities.clashes(project, name)) for name in environments},
        given={name: _given(project, name) for name in environments},
    )


def _given(project: Project, environment: str) -> dict[Key, frozenset[str]]:
    """Return the names in the `env:` of plug-ins that have one, and of what they inherit from."""
    overrides = project.environment_entries[environment].plugins
    found: dict[Key, frozenset[str]] = {}
    for key, entry in project.entries.items():
        line = [entry, *project.parents[key].chain]
        envs = [e.env for e in line] + [overrides[e.key].env for e in line if e.key in overrides]
        if any(envs):
            found[key] = frozenset(
                str(name) for env in envs if isinstance(env, dict) for name in env
            )
    return found


_V = TypeVar("_V")


def _first(entries: Iterable[dict[str, _V]]) -> dict[str, _V]:
    """Join mappings; of two values of one name the first counts."""
    found: dict[str, _V] = {}
    for entry in entries:
        found = {**entry, **found}
    return found


def _configurations(
    project: Project,
) -> tuple[dict[str, dict[Key, Configuration]], list[Unreadable]]:
    """Work out every plug-in in every environment, and say which ones are too many."""
    known, count = _as_written(project), 0
    found: dict[str, dict[Key, Configuration]] = {}
    for environment in project.environments:
        told = found[environment.name] = {}
        for plugin in project.plugins:
            answer = resolve(known, plugin, environment.name)
            told[plugin.type, plugin.name] = answer
            count += _cost(known, (plugin.type, plugin.name), len(answer.settings))
            if count > _SETTINGS:
                reason = (
                    f"there are over {_SETTINGS} settings, inherited ones counted at each level;"
                    " the rest is left out"
                )
                return found, [Unreadable(environment.place, reason)]
    return found, []


def _cost(project: Project, key: Key, settings: int) -> int:
    """Return how many settings were looked up, also where that led to no answer."""
    line = [project.entries[key], *project.parents[key].chain]
    written = sum(
        len(e.settings) + (len(e.config) if isinstance(e.config, dict) else 0) for e in line
    )
    return 1 + len(line) * max(settings, written)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _as_written(project: Project) -> Project:
    """Let a plug-in that only a hub knows have the settings that are written for it, and no others."""
    parents = {
        key: _undefined(entry, project.parents[key])
        if project.parents[key].is_unlocked
        else project.parents[key]
        for key, entry in project.entries.items()
    }
    return dataclasses.replace(project, parents=parents)


def _undefined(entry: Entry, parent: Parent) -> Parent:
    last = parent.chain[-1] if parent.chain else entry
    known = tuple(extras(entry.type, last.name, {}, last.place, last.name))
    namespace = last.name.replace("-", "_")
    base = Base(entry.type, last.name, namespace, None, (), known, {}, last.place)
    return Parent(parent.chain, base)


def _pipelines(files: Files) -> tuple[list[Pipeline], list[Unreadable]]:
    paths = sorted(
        path
        for path, kind in files.kinds().items()
        if path.startswith(FOLDER) and path.endswith((".yml", ".yaml")) and kind is Kind.FILE
    )
    found, problems = list[Pipeline](), list[Unreadable]()
    contents, total, nodes = files.contents(paths[:_PIPELINES]), 0, 0
    for path in paths[:_PIPELINES]:
        if path not in contents:
            problems.append(Unreadable(Place(path, 1), f"it is larger than {LARGEST} bytes"))
            continue
        total += len(contents[path])
        if total > _PIPELINE_BYTES or nodes > NODES:
            problems.append(Unreadable(Place(path, 1), "pipelines are too large together"))
            break
        read = read_yaml(path, contents[path])
        nodes += read.nodes
        problems += read.problems
        made = None if read.problems else pipeline(path, read.value)
        if isinstance(made, Pipeline):
            found.append(made)
        elif made:
            problems.append(made)
    return found, problems
