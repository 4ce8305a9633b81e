"""Dagster instances with many past runs: some executed here, the others copies of the first.

Copies are rows of the tables `runs` and `run_tags`, inserted in bulk: `instance.add_run` writes the
same rows, but makes a connection and a commit for each run, which takes ten minutes for 100,000 runs
on SQLite and forty on PostgreSQL. A copy is the executed run's own rows with another id, commit,
workspace and time, so whatever Dagster and our op wrote is in it.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy

from benchmarks import worlds
from dataops_dagster import build_dataops_definitions
from dataops_dagster.orchestration import naming

PROJECT, WORKSPACE, ENVIRONMENT = "shop", "staging", "staging"
MANY = 50
"""How many runs the commit has that was run many times."""

LEAST = MANY + 3
"""How many runs are executed; no history has fewer."""

_WORKSPACES = (WORKSPACE, "dev", "qa", "prod")
_RUNS_EACH = 3  # of a commit that is copied
_PACE = timedelta(minutes=5)  # between two copies
_AT_ONCE = 5000
_PREVIOUS = "3c3bd84c-5ad7-4a1f-8b39-a75a5a4a0000"  # stands in the run key, as in our sensor's
_SEVERITY = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

_EVENTS = """\
insert into event_logs
  (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
select runs.run_id, replace(one.event, :copied, runs.run_id), one.dagster_event_type,
  runs.create_timestamp, one.step_key, one.asset_key, one.partition
from runs join event_logs as one on one.run_id = :copied
where runs.run_id != :copied
order by runs.id, one.id
"""


@dataclass(frozen=True)
class Shop:
    """A project of one workspace with a run job, and the commits that are run."""

    job: dg.JobDefinition
    oldest: str
    many: str
    other: str
    newest: str


@dataclass(frozen=True)
class Home:
    """An instance's folder, and the address of the database that holds its runs.

    SQLite keeps the events of each run in a file of their own, where other runs' play no part;
    a server keeps all in one table.
    """

    folder: Path
    url: str
    shares_events: bool

    def open(self) -> dg.DagsterInstance:
        """Open the instance anew, as Dagster does for each look of a sensor."""
        return dg.DagsterInstance.from_config(str(self.folder))


def shop(folder: Path) -> Shop:
    """Make the project's repository and its definitions."""
    world = worlds.make("deep", 0.0, folder)
    path = folder / "dataops.yaml"
    path.write_text(
        f"project: {PROJECT}\nprotocols: [file]\nworkspaces:\n  {WORKSPACE}:\n"
        f"    repository: {world.staging}\n    environment: {ENVIRONMENT}\n"
        "    run: {platform: command, command: ['true']}\n"
    )
    job = build_dataops_definitions(path).resolve_job_def(naming.run_job(PROJECT))
    newest, other, many, oldest = worlds.git(world.staging, "rev-list", "-4", "main").split()
    return Shop(job, oldest, many, other, newest)


def make(home: Home, project: Shop, count: int) -> str:
    """Fill an instance with this many runs; returns the id of the other commit's run."""
    # Within a run Dagster keeps Ctrl-C from us and may lose it, but not in another thread.
    with ThreadPoolExecutor(max_workers=1) as apart, home.open() as instance:

        def run(commit: str) -> dg.DagsterRun:
            return apart.submit(_execute, instance, project, commit).result()

        _copy(home, run(project.oldest), project.oldest, count - LEAST)
        for _ in range(MANY):
            run(project.many)
        other = run(project.other)
        run(project.newest)
        found = instance.get_runs_count()
    if found != count:
        raise AssertionError(f"{found} runs instead of {count}")
    return other.run_id


def _execute(instance: dg.DagsterInstance, project: Shop, commit: str) -> dg.DagsterRun:
    """Run our run job at a commit, tagged as if our sensor had asked for it."""
    key, value = naming.run_tag(PROJECT, WORKSPACE, commit, ENVIRONMENT)
    tags = {
        key: value,
        "dagster/max_runtime": "7500",
        "dagster/run_key": f"run {WORKSPACE} {commit} {ENVIRONMENT} after {_PREVIOUS}",
        "dagster/sensor_name": f"gates_{PROJECT}",
        ".dagster/repository": "__repository__@definitions.py",
        "team": "data",
    }
    config = {naming.run_op(PROJECT): {"config": {"commits": {WORKSPACE: commit}}}}
    result = project.job.execute_in_process(
        instance=instance, run_config={"ops": config, **_SEVERITY}, tags=tags
    )
    return result.dagster_run


def _copy(home: Home, run: dg.DagsterRun, commit: str, count: int) -> None:
    """Insert copies of a run, the oldest first, and their events where they share a table."""
    engine = sqlalchemy.create_engine(home.url, poolclass=sqlalchemy.pool.NullPool)
    tables = sqlalchemy.MetaData()
    runs = sqlalchemy.Table("runs", tables, autoload_with=engine)
    run_tags = sqlalchemy.Table("run_tags", tables, autoload_with=engine)
    with engine.begin() as connection:
        of_run = sqlalchemy.select(run_tags).where(run_tags.c.run_id == run.run_id)
        tags = {row.key: row.value for row in connection.execute(of_run)}
        row = connection.execute(sqlalchemy.select(runs)).mappings().one()
        swaps = _swaps(run.run_id, commit, count)
        while some := list(itertools.islice(swaps, _AT_ONCE)):
            connection.execute(runs.insert(), [_run_row(row, swap) for swap in some])
            connection.execute(
                run_tags.insert(),
                [
                    {"run_id": swap.run_id, "key": swap(key), "value": swap(value)}
                    for swap in some
                    for key, value in tags.items()
                ],
            )
        if home.shares_events:
            connection.execute(sqlalchemy.text(_EVENTS), {"copied": run.run_id})


@dataclass(frozen=True)
class _Swap:
    """What a copy has in the place of what the executed run has."""

    run_id: str
    created: datetime
    words: Mapping[str, str]

    def __call__(self, text: str) -> str:
        """Return a text of the executed run as it stands in the copy."""
        for old, new in self.words.items():
            text = text.replace(old, new)
        return text


def _swaps(run_id: str, commit: str, count: int) -> Iterator[_Swap]:
    dice = random.Random(count)  # noqa: S311  # the same history every time
    begin = datetime.now(timezone.utc).replace(tzinfo=None) - (count + 1) * _PACE
    for i in range(count):
        workspace = _WORKSPACES[i % len(_WORKSPACES)]
        number = i // (_RUNS_EACH * len(_WORKSPACES))
        new_id, previous = (str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in "ab")
        words = {
            run_id: new_id,
            _PREVIOUS: previous,
            commit: commit_id(f"{workspace} {number}"),
            WORKSPACE: workspace,  # which is the name of its environment, too
        }
        yield _Swap(new_id, begin + i * _PACE, words)


def commit_id(text: str) -> str:
    """Return what looks like a commit's id."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _run_row(row: Mapping[Any, Any], swap: _Swap) -> dict[str, Any]:
    seconds = swap.created.replace(tzinfo=timezone.utc).timestamp()
    return {
        **{key: value for key, value in row.items() if key != "id"},
        "run_id": swap.run_id,
        "run_body": swap(row["run_body"]),
        "create_timestamp": swap.created,
        "update_timestamp": swap.created + timedelta(seconds=2),
        "start_time": seconds + 1,
        "end_time": seconds + 2,
    }
