"""Is the instance of Dagster set up for promotions, and does it run? Changes nothing there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

import dagster as dg

from dataops_dagster.orchestration import naming
from dataops_dagster.settings import Project
from dataops_dagster.settings_steps import TinybirdStep

_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
_SILENCE = timedelta(minutes=5)  # a daemon gives a sign of life each half minute


@dataclass(frozen=True)
class Finding:
    """One thing about the instance; `mend` says what to do about it, and is empty where all is well."""

    what: str
    says: str
    mend: str = ""


@dataclass(frozen=True)
class Facts:
    """What an instance says of itself. A limit or number of retries that is not set is None.

    `launcher` starts runs on machines of their own, and is empty where none does; `logs` keeps raw
    output; `state` is the folder that `DATAOPS_STATE_DIR` names here; -1 in `most_runs` is no limit.
    """

    storage: str
    launcher: str
    logs: str
    state: str
    elsewhere: Sequence[str]
    is_queued: bool
    most_runs: int | None
    default_limit: int | None
    granularity: str
    pools: Mapping[str, int]
    is_monitored: bool
    max_runtime: int
    retries: int | None
    daemons: Mapping[str, bool]
    sensors: Mapping[str, bool]


def look(instance: dg.DagsterInstance, now: datetime) -> Facts:
    """Ask the instance; what its storage raises where it does not answer is passed on."""
    # Attributes without an underscore, though not marked public: nothing that is says these.
    concurrency = instance.get_concurrency_config()
    queue = concurrency.run_queue_config
    granularity = concurrency.pool_config.pool_granularity
    states = instance.all_instigator_state()
    launcher = type(instance.run_launcher).__name__.removeprefix("DefaultRunLauncher")
    return Facts(
        storage=type(instance.event_log_storage).__name__.removesuffix("EventLogStorage"),
        launcher=launcher,
        logs=type(instance.compute_log_manager).__name__,
        state=os.environ.get("DATAOPS_STATE_DIR", ""),
        elsewhere=_elsewhere(launcher, states),
        is_queued=queue is not None,
        most_runs=queue.max_concurrent_runs if queue else None,
        default_limit=concurrency.pool_config.default_pool_limit,
        granularity=granularity.value if granularity else "op",
        pools={pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()},
        is_monitored=instance.run_monitoring_enabled,
        max_runtime=instance.run_monitoring_max_runtime_seconds,
        retries=instance.run_retries_max_retries if instance.run_retries_enabled else None,
        daemons={
            name: _is_alive(status, now)
            for name, status in sorted(instance.get_daemon_statuses().items())
        },
        # Two code locations may have a sensor of one name.
        sensors={
            state.name: any(s.is_running for s in states if s.name == state.name)
            for state in states
        },
    )


def judge(facts: Facts, projects: Sequence[Project]) -> Iterator[Finding]:
    """Yield what is as it should be, and what to set where it is not."""
    yield _storage(facts)
    yield from _logs(facts)
    yield from _pools(facts, projects)
    yield _monitoring(facts)
    yield _retries(facts)
    yield _daemon(facts)
    for project in projects:
        yield _sensors(facts, project)
        if facts.launcher and _keeps_state(project):
            yield _state(facts, project)


def _elsewhere(launcher: str, states: Sequence[Any]) -> list[str]:
    """Say what of the instance is, or may be, on other machines."""
    origins = (state.origin.repository_origin.code_location_origin for state in states)
    hosts = {getattr(origin, "host", None) or "localhost" for origin in origins} - _THIS_MACHINE
    runs = [f"runs by {launcher}"] if launcher else []
    return [*runs, *(f"a code location at {host}" for host in sorted(hosts))]


def _is_alive(status: Any, now: datetime) -> bool:
    """Say whether a part of the daemon gave a sign of life lately; Dagster waits half an hour."""
    last = status.last_heartbeat
    return bool(last) and now.timestamp() - last.timestamp < _SILENCE.total_seconds()


def _storage(facts: Facts) -> Finding:
    if facts.storage != "Sqlite":
        return Finding("storage", f"{facts.storage} answers")
    if not facts.elsewhere:
        return Finding("storage", "Sqlite answers; it is for one machine")
    return Finding(
        "storage",
        f"Sqlite is for one machine, and there is {' and '.join(facts.elsewhere)}",
        "dagster.yaml: set storage.postgres, the same database in each process",
    )


def _logs(facts: Facts) -> Iterator[Finding]:
    if facts.elsewhere and facts.logs == "LocalComputeLogManager":
        yield Finding(
            "compute logs",
            f"raw output stays on one machine's disk, and there is {' and '.join(facts.elsewhere)}",
            "dagster.yaml: set compute_logs, as examples/production/dagster.yaml does",
        )


def _pools(facts: Facts, projects: Sequence[Project]) -> Iterator[Finding]:
    if facts.elsewhere and facts.most_runs == -1:
        yield Finding(
            "queue",
            "any number of runs at once: each has connections to the database, and memory",
            "dagster.yaml: set concurrency.runs.max_concurrent_runs, such as 20",
        )
    names = [naming.pool(project.name, t.name) for project in projects for t in project.targets]
    unlimited = [name for name in names if name not in facts.pools]
    if not facts.is_queued:
        yield Finding(
            "queue",
            "runs start at once; limits of runs and of pools of runs do not hold",
            "dagster.yaml: remove run_coordinator, so that runs are queued",
        )
    if wide := [f"{name} {facts.pools[name]}" for name in names if facts.pools.get(name, 1) != 1]:
        yield Finding(
            "pools",
            f"limits other than 1: {', '.join(wide)}",
            "`dagster instance concurrency set POOL 1`",
        )
    elif unlimited and facts.default_limit != 1:
        yield Finding(
            "pools",
            f"promotions into one target are not kept apart: no limit of {', '.join(unlimited)}",
            "dagster.yaml: set concurrency.pools.default_limit: 1",
        )
    elif unlimited and facts.granularity == "run":
        yield Finding(
            "pools",
            "one promotion a target at a time, once Dagster saw a run of each pool",
        )
    else:
        yield Finding("pools", f"one promotion a target at a time, by {facts.granularity}")


def _monitoring(facts: Facts) -> Finding:
    if not facts.is_monitored:
        return Finding(
            "run monitoring",
            "off: a run whose worker died stays started for ever",
            "dagster.yaml: set run_monitoring.enabled: true",
        )
    if not facts.max_runtime:
        return Finding(
            "run monitoring",
            "on, but runs that a person launches in the UI may take for ever",
            "dagster.yaml: set run_monitoring.max_runtime_seconds, such as 14400",
        )
    return Finding("run monitoring", f"on; at most {facts.max_runtime} s a run")


def _retries(facts: Facts) -> Finding:
    if facts.retries:
        return Finding(
            "run retries",
            f"each failed run is tried {facts.retries} times more, also one whose answer was no",
            "dagster.yaml: set run_retries.max_retries: 0; the sensor asks again by itself",
        )
    return Finding("run retries", "only runs that ask for it; the sensor asks again by itself")


def _daemon(facts: Facts) -> Finding:
    silent = [name for name, is_alive in facts.daemons.items() if not is_alive]
    if not silent:
        return Finding("daemon", "runs")
    whole = len(silent) == len(facts.daemons)
    return Finding(
        "daemon",
        "none runs" if whole else f"no sign of life of {', '.join(silent)}",
        "start one `dagster-daemon run` for the instance, with the same dagster.yaml",
    )


def _sensors(facts: Facts, project: Project) -> Finding:
    at_tinybird = any(w.tinybird for w in project.workspaces.values())
    verbs = ("heads", "gates", *(("branches",) if at_tinybird else ()))
    what, names = f"sensors of {project.name}", (f"{verb}_{project.name}" for verb in verbs)
    enabled = project.automation.enabled
    off = [name for name in names if not facts.sensors.get(name, enabled)]
    if off:
        return Finding(
            what,
            f"off: {', '.join(off)}; what they do does not happen by itself",
            "switch them on in the UI, or dataops.yaml: set automation.enabled: true",
        )
    return Finding(what, "on")


def _keeps_state(project: Project) -> bool:
    return any(isinstance(w.deploy, TinybirdStep) for w in project.workspaces.values())


def _state(facts: Facts, project: Project) -> Finding:
    what = f"state folder of {project.name}"
    if facts.state and not PurePath(facts.state).is_relative_to(tempfile.gettempdir()):
        return Finding(what, f"{facts.state}; runs by {facts.launcher} must find one volume there")
    return Finding(
        what,
        f"runs by {facts.launcher} forget what they deployed to Tinybird, each with its machine",
        "set DATAOPS_STATE_DIR to a persistent volume that all runs of the project mount",
    )
