"""What changes between two states of a Meltano project, for one environment and for the others. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from dataops_dagster.configuration import (
    Changes,
    PartChange,
    SettingChange,
    StateChange,
    TimerChange,
)
from dataops_dagster.meltano.model import Layer, Place, Plugin, Setting
from dataops_dagster.meltano.reading import EMPTY, Reading
from dataops_dagster.meltano.redaction import HIDDEN, brief, shown, without_login
from dataops_dagster.meltano.schedules import Timer

CHANGED_SECRET = "changed (secret)"  # noqa: S105  # it says so without telling it

_MOST = 2000
"""How many changes of settings are told."""

_STATEFUL: Mapping[str, str] = {
    r"(?:_metadata\..+\.)?replication[-_]key": "the state that is kept was made with another key",
    r"(?:_metadata\..+\.)?replication[-_]method": "loads become whole, or begin to keep a state",
    r"_select(?:_filter)?|_metadata\..+\.(?:selected|inclusion)": "streams come or go",
    r"_state|_catalog|_use_cached_catalog": "loads begin from another state or catalog",
    r"_load_schema|(?:default_)?(?:target_)?schema(?:_name)?": "loads go into another schema",
}
"""Settings that affect what loads begin from or where they go, and why that matters."""


def changes(before: Reading | None, after: Reading, environment: str, *, now: datetime) -> Changes:
    """Return what changes in `environment`, the target's own, and what only in other ones.

    `before` is None where there was no project. `now` is when it could land.
    """
    before = before or EMPTY
    own = tuple(islice(_settings(before, after, environment), _MOST + 1))
    same = {(c.plugin, c.setting, c.old, c.new) for c in own}
    others = [name for name in {**before.environments, **after.environments} if name != environment]
    elsewhere = (change for name in others for change in _settings(before, after, name))
    differing = (c for c in elsewhere if (c.plugin, c.setting, c.old, c.new) not in same)
    apart = tuple(islice(differing, _MOST + 1))
    too_many = [f"there are over {_MOST} changes of settings; the first are told"]
    return Changes(
        environment=environment,
        settings=own[:_MOST],
        elsewhere=apart[:_MOST],
        parts=tuple(parts(before, after)),
        timers=tuple(_timers(before, after, now)),
        state=(*_stateful(own), *_states(before, after, environment)),
        problems=(
            *after.told_problems(environment),
            *(too_many if max(len(own), len(apart)) > _MOST else ()),
        ),
    )


def differs(one: Any, other: Any) -> bool:
    """Say whether two values differ, also as 1, 1.0, true and "1" do."""
    return _spelled(one) != _spelled(other)


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


_K = TypeVar("_K")
_V = TypeVar("_V")


def _pairs(
    before: Mapping[_K, _V], after: Mapping[_K, _V]
) -> Iterator[tuple[_K, _V | None, _V | None]]:
    """Yield each key with what stands there before and after; what is gone comes last."""
    for key in {**after, **before}:
        yield key, before.get(key), after.get(key)


# --- settings ---------------------------------------------------------------------------------


def _settings(before: Reading, after: Reading, environment: str) -> Iterator[SettingChange]:
    known, left = _names(before), _names(after)
    for (plugin, name), old, new in _pairs(
        before.settings(environment), after.settings(environment)
    ):
        stays = plugin in known and plugin in left
        told = [setting for setting, _ in filter(None, (old, new))]
        if not stays and all(setting.layer is Layer.DEFAULT for setting in told):
            continue  # what a plug-in brings along, or takes with it
        was, becomes = (pair[0] if pair else None for pair in (old, new))
        if was and becomes and not differs(was.value, becomes.value):
            continue
        layer = (new or old or (None, ""))[1]
        yield SettingChange(
            brief(environment), brief(plugin), brief(name), *told_apart(was, becomes), brief(layer)
        )


def _names(reading: Reading) -> set[str]:
    return {name for _, name in reading.plugins}


def told_apart(
    one: Setting | None, other: Setting | None, *, secret: str = CHANGED_SECRET
) -> tuple[str, str]:
    """Return two values that differ as people may see them; of two secrets only that they do."""
    ours, theirs = shown(one), shown(other)
    return ours, secret if ours == theirs == HIDDEN else theirs


# --- plug-ins, jobs and environments ----------------------------------------------------------


def parts(before: Reading, after: Reading) -> Iterator[PartChange]:
    """Yield the environments, plug-ins and jobs that come, go or change."""
    for kind, look in _PARTS.items():
        for name, old, new in _pairs(look(before), look(after)):
            if old != new:
                yield PartChange(kind, brief(name), old or "", new or "")


def _environments(reading: Reading) -> dict[str, str]:
    return dict.fromkeys(reading.environments, "defined")


def _plugins(reading: Reading) -> dict[str, str]:
    return {f"{type_} {name}": _pin(p, reading) for (type_, name), p in reading.plugins.items()}


def _pin(plugin: Plugin, reading: Reading) -> str:
    """Say which program a plug-in is, and who says so."""
    lock = plugin.definition
    told = {
        "variant": plugin.variant if plugin.variant != "default" else None,
        "pip_url": plugin.pip_url and without_login(plugin.pip_url),
        "executable": plugin.executable,
        "inherits": plugin.inherit_from,
        "lock": lock and f"{lock} ({reading.locks.get(lock, '')})",
    }
    return "; ".join(f"{key} {brief(value)}" for key, value in told.items() if value) or "defined"


def _jobs(reading: Reading) -> dict[str, str]:
    return {job.name: brief(", ".join(map(" ".join, job.tasks))) for job in reading.jobs.values()}


_PARTS: Mapping[str, Callable[[Reading], Mapping[str, str]]] = {
    "environment": _environments,
    "plug-in": _plugins,
    "job": _jobs,
}


# --- what runs by itself ----------------------------------------------------------------------


def _timers(before: Reading, after: Reading, now: datetime) -> Iterator[TimerChange]:
    for (kind, name), old, new in _pairs(before.timers, after.timers):
        was, becomes = (timer.when if timer else "" for timer in (old, new))
        if what := _happens(old, new):
            runs = brief((new or old or _NOTHING).runs)
            first = new.first(now) if new else None
            yield TimerChange(kind, brief(name), what, brief(was), brief(becomes), runs, first)


_NOTHING = Timer("", "", Place("", 1), "", None, 0)


def _happens(old: Timer | None, new: Timer | None) -> str:
    """Say in one word what becomes of a timer; empty if it stays as it is, or is still by hand."""
    was, becomes = (timer.when if timer else "" for timer in (old, new))
    if was != becomes:
        return "stops" if not becomes else "starts" if not was else "moves"
    if was and old and new and old.runs != new.runs:
        return "changes"
    return ""


# --- state ------------------------------------------------------------------------------------


def _stateful(changed: Iterable[SettingChange]) -> Iterator[StateChange]:
    for change in changed:
        for pattern, why in _STATEFUL.items():
            if re.fullmatch(rf"(?:{pattern})(?: \(in .+\))?", change.setting):  # of a pipeline
                yield StateChange(change.plugin, change.setting, change.old, change.new, why)


def _states(before: Reading, after: Reading, environment: str) -> Iterator[StateChange]:
    """Yield the states that nothing uses any more, that begin, or that something else goes on with."""
    known, used = (_state_ids(reading, environment) for reading in (before, after))
    for id_, old, new in _pairs(known, used) if known else ():
        if old != new:
            why = "loads begin anew" if old is None else "nothing goes on with this state"
            why = why if not (old and new) else "it goes on with the state of other plug-ins"
            yield StateChange(brief(id_), "state id", brief(old or ""), brief(new or ""), why)


def _state_ids(reading: Reading, environment: str) -> dict[str, str]:
    """Return the ids under which Meltano keeps the state of loads, each with what it loads."""
    own = reading.environments.get(environment)
    suffix = f":{own.state_id_suffix}" if own and own.state_id_suffix else ""
    tasks = (blocks for job in reading.jobs.values() for blocks in job.tasks)
    of_jobs = {
        f"{environment}:{extractor}-to-{loader}{suffix}": f"{extractor} {loader}"
        for blocks in tasks
        for extractor, loader in _loads(blocks, reading)
    }
    # A schedule without a job names its state itself, in all environments alike.
    timers = (timer for timer in reading.timers.values() if timer.kind == "schedule")
    return of_jobs | {t.name: t.runs for t in timers if list(_loads(t.runs.split(), reading))}


def _loads(blocks: Iterable[str], reading: Reading) -> Iterator[tuple[str, str]]:
    """Yield the extractors and loaders that go together in a line of blocks."""
    extractor = None
    for block in blocks:
        if ("loaders", block) in reading.plugins and extractor:
            yield extractor, block
        if ("extractors", block) in reading.plugins:
            extractor = block
