"""What looking up evidence costs beside few and beside many past runs in Dagster's instance.

    python -m benchmarks.evidence [--runs 100,100000] [--storages sqlite,postgres] [--rounds 5]
                                  [--report benchmarks/results]

Instances that differ in nothing but their past take turns. Times are of this machine and this
hour; the ratios are what can be compared. PostgreSQL needs the dependency group `test`; without it
SQLite is measured alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from benchmarks import history, postgres, report
from benchmarks.processes import ROOT, orderly_end
from benchmarks.usage import processor_seconds
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.book import InstanceBook

STORAGES = ("sqlite", "postgres")
SIZES = (1, 16, 256)
"""How many candidates are asked about at once."""

_REPEATS, _REPEATS_OF_MANY = 10, 2
"""How many look-ups a turn has, each in an instance that looks for the first time."""

# What runs print is not kept: the programs that do it complain when Ctrl-C reaches them.
_YAML = """\
telemetry: {enabled: false}
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
_EVENTS = 2  # of a run that `find` reads: its check was evaluated, and its step ended well


@dataclass(frozen=True)
class Case:
    """Who is asked about: candidates, newest first, and how many runs of them there are."""

    name: str
    candidates: tuple[str, ...]
    found: int

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return len(self.candidates)


@dataclass(frozen=True)
class Past:
    """An instance with this many past runs, and the run whose events are read by themselves."""

    storage: str
    runs: int
    home: history.Home
    other: str


@dataclass
class Series:
    """What one look-up took, turn by turn."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


Key = tuple[str, int, str, str, int]
"""Storage, past runs, what was done, case, number of candidates."""

Measured = dict[Key, Series]


def main() -> None:
    """Measure, and write the page."""
    given = _arguments()
    machine = report.machine()
    with contextlib.ExitStack() as stack:
        stack.enter_context(orderly_end())
        made = tempfile.TemporaryDirectory(prefix="dataops-benchmark-")
        folder = Path(stack.enter_context(made))
        os.environ.update(
            {f"DATAOPS_{name}_DIR": str(folder / name) for name in ("CACHE", "STATE")}
        )
        server = stack.enter_context(postgres.running()) if "postgres" in given.storages else None
        project = history.shop(folder)
        pasts = _pasts(folder, project, server, given.storages, given.runs)
        measured: Measured = {}
        for number in range(given.rounds + 1):
            for storage, size in ((s, n) for s in given.storages for n in SIZES):
                turn = [past for past in pasts if past.storage == storage]
                # The first round warms up and does not count.
                _turn(measured if number else {}, turn, _cases(project, size))
            print(f"round {number} of {given.rounds}", flush=True)
        versions = {"sqlite": sqlite3.sqlite_version, "postgres": server.version if server else ""}
    introduction = _INTRODUCTION.format(
        many=history.MANY,
        copies=_REPEATS,
        copies_of_many=_REPEATS_OF_MANY,
        rounds=given.rounds,
        runs=" and with ".join(f"{count:,}" for count in given.runs),
        machine=f"{machine}; dagster {dg.__version__}",
        without=given.without,
    )
    parts = [_part(measured, s, versions[s], given.runs, project) for s in given.storages]
    print(report.write(given.report, "evidence", introduction, *parts).read_text())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", default="100,100000")
    parser.add_argument("--storages", default=",".join(STORAGES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--report", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    given.storages = given.storages.split(",")
    if not set(given.storages) <= set(STORAGES):
        parser.error(f"the storages are {', '.join(STORAGES)}")
    given.runs = sorted(map(int, given.runs.split(",")))
    if given.runs[0] < history.LEAST or given.rounds < 1:
        parser.error(f"at least {history.LEAST} runs and one round are needed")
    given.without = ""
    if "postgres" in given.storages and (missing := postgres.missing()):
        given.without = f"PostgreSQL is not measured: {missing}.\n"
        print(given.without, end="", flush=True)
        given.storages.remove("postgres")
        if not given.storages:
            parser.exit(1)
    return given


def _pasts(
    folder: Path,
    project: history.Shop,
    server: postgres.Server | None,
    storages: Sequence[str],
    counts: Sequence[int],
) -> list[Past]:
    """Make an instance a storage and number of past runs."""
    made = []
    for storage, count in ((s, c) for s in storages for c in counts):
        print(f"making {count:,} past runs in {storage}", flush=True)
        name = f"{storage}_{count}"
        (folder / name).mkdir()
        stored, url = "", f"sqlite:///{folder / name / 'history' / 'runs.db'}"
        if storage == "postgres":
            assert server
            stored, url = server.create(name), server.url(name)
        (folder / name / "dagster.yaml").write_text(_YAML + stored)
        home = history.Home(folder / name, url, shares_events=storage == "postgres")
        made.append(Past(storage, count, home, history.make(home, project, count)))
        if server and storage == "postgres":
            server.settle(name)
    return made


def _cases(project: history.Shop, size: int) -> list[Case]:
    """Return the cases; nothing is known of a candidate that is not named."""
    unknown = tuple(history.commit_id(f"candidate {i}") for i in range(size))
    return [
        Case("newest run", (project.newest, *unknown[1:]), 1),
        Case("oldest run", (*unknown[1:], project.oldest), 1),
        Case("no run", unknown, 0),
        Case(f"{history.MANY} runs", (project.many, *unknown[1:]), history.MANY),
    ]


def _turn(measured: Measured, pasts: Sequence[Past], cases: Sequence[Case]) -> None:
    """Let the instances look everything up in turn, each time one that has not looked before."""
    size = cases[0].size
    with contextlib.ExitStack() as stack:
        opened = [[(past, _open(stack, past)) for past in pasts] for _ in range(_REPEATS)]
        for case in cases:
            some = opened[: _REPEATS if case.found <= 1 else _REPEATS_OF_MANY]
            _time(measured, ("records", case.name, size), some, _records(case), case.found)
            _time(measured, ("find", case.name, size), some, _find(case), case.found)
        _time(measured, ("events", "", size), opened, _events, _EVENTS)


def _open(stack: contextlib.ExitStack, past: Past) -> dg.DagsterInstance:
    """Open an instance that has learnt what its tables are and has not looked at any run."""
    instance = stack.enter_context(past.home.open())
    instance.get_run_records(dg.RunsFilter(run_ids=["none"]), limit=1)
    return instance


_Look = Callable[[Past, dg.DagsterInstance], int]
"""Looks something up; returns how many were found."""


def _time(
    measured: Measured,
    key: tuple[str, str, int],
    opened: Sequence[Sequence[tuple[Past, dg.DagsterInstance]]],
    look: _Look,
    found: int,
) -> None:
    """Note what a look-up takes beside each past, one look-up after the other."""
    took: dict[Past, Series] = {}
    for i, pair in enumerate(opened):
        for past, instance in pair if i % 2 else reversed(pair):
            # A server is a child of ours; without one there is no need to look at children.
            used = processor_seconds if past.home.shares_events else time.process_time
            cpu, start = used(), time.perf_counter()
            answer = look(past, instance)
            seconds, cpu = time.perf_counter() - start, used() - cpu
            if answer != found:
                raise AssertionError(f"{answer} were found instead of {found}")
            series = took.setdefault(past, Series())
            series.seconds.append(seconds)
            series.cpu.append(cpu)
    for past, series in took.items():
        into = measured.setdefault((past.storage, past.runs, *key), Series())
        into.seconds.append(statistics.median(series.seconds))
        # Of a server the system tells hundredths of seconds, so only the sum says something.
        into.cpu.append(statistics.fmean(series.cpu))


def _find(case: Case) -> _Look:
    """Look up as the gate does."""
    whose = (history.PROJECT, history.WORKSPACE, history.ENVIRONMENT, case.candidates)
    return lambda _, instance: len(InstanceBook(instance).find(*whose))


def _records(case: Case) -> _Look:
    """Find the candidates' runs, by the same call of Dagster and nothing else."""
    tags = [
        naming.run_tag(history.PROJECT, history.WORKSPACE, commit, history.ENVIRONMENT)
        for commit in case.candidates
    ]
    wanted = dg.RunsFilter(tags={tags[0][0]: [value for _, value in tags]})
    return lambda _, instance: len(instance.get_run_records(wanted, limit=1000))


def _events(past: Past, instance: dg.DagsterInstance) -> int:
    """Read the events of one run that `find` reads."""
    types = {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.STEP_SUCCESS}
    return len(instance.all_logs(past.other, of_type=types))


_INTRODUCTION = """\
# What looking up evidence costs

`InstanceBook.find`, with which the gate looks up the evidence for its candidates, in instances of
Dagster with {runs} past runs. Look-ups in the one and the other alternate, {copies} in
a round ({copies_of_many} of a commit with {many} runs), rounds: {rounds} after one to warm up. Each is the first
of its kind in an instance that was just opened, as Dagster opens one for each look of a sensor.
Medians of the rounds, with the least and the most in brackets; a ratio is the median of the rounds'
ratios. What processors took is Python's and, of PostgreSQL, the server's as well.

One candidate has one run, the newest or the oldest of all; or none has a run; or one has {many}. The
others of the candidates were never run. The past runs are of one project's run job in four
workspaces, three a commit, with six tags each. Those of the candidates were executed; the rest are
copies of the oldest, on PostgreSQL with their events, as all runs' events are in one table there.
PostgreSQL's tables were vacuumed and analyzed; SQLite's are as Dagster left them.

The bare limit is what Dagster takes by itself: the same `get_run_records`, and for each run that
it finds, reading the events of one run. A candidate is one search in Dagster's index of tags, and a
search takes a little longer in a larger index. `find` reads the events of the candidates' runs one run
after the other: it takes longer the more of these there are, however many others there are.
On PostgreSQL Dagster makes a connection for each query; about half of a look-up is that, with any past.
{without}
Made by `python -m benchmarks.evidence` on {machine}.
"""


def _part(
    measured: Mapping[Key, Series],
    storage: str,
    version: str,
    counts: Sequence[int],
    project: history.Shop,
) -> str:
    """Write a storage's tables: `find` beside few and many past runs, and what it is made of."""
    few, many = counts[0], counts[-1]
    apart = f"{many:,} : {few:,}"
    ours, bare = [], []
    for case in (case for size in SIZES for case in _cases(project, size)):
        find, query, events = (
            {runs: measured[storage, runs, what, name, case.size] for runs in counts}
            for what, name in (("find", case.name), ("records", case.name), ("events", ""))
        )
        ours.append(
            (
                case.name,
                str(case.size),
                *(_milliseconds(find[runs].seconds) for runs in counts),
                _ratio(find[many].seconds, find[few].seconds),
                *(_milliseconds(find[runs].cpu) for runs in counts),
                _ratio(find[many].cpu, find[few].cpu),
            )
        )
        pairs = zip(query[many].seconds, events[many].seconds, strict=True)
        limit = [one + case.found * other for one, other in pairs]
        bare.append(
            (
                case.name,
                str(case.size),
                _milliseconds(query[many].seconds),
                _ratio(query[many].seconds, query[few].seconds),
                _milliseconds(events[many].seconds),
                _ratio(events[many].seconds, events[few].seconds),
                _milliseconds(limit),
                _ratio(find[many].seconds, limit),
            )
        )
    of_runs = tuple(f"{runs:,} runs" for runs in counts)
    cpu = tuple(f"processors, {runs:,} runs" for runs in counts)
    return "\n".join(
        (
            f"## {_NAMES[storage]} {version}\n",
            "Milliseconds of `find`:\n",
            report.table(("", "candidates", *of_runs, apart, *cpu, apart), ours),
            f"Milliseconds of the bare limit beside {many:,} runs:\n",
            report.table(
                (
                    "",
                    "candidates",
                    "`get_run_records`",
                    apart,
                    "one run's events",
                    apart,
                    "limit",
                    "`find` : limit",
                ),
                bare,
            ),
        )
    )


_NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def _ratio(one: Sequence[float], other: Sequence[float]) -> str:
    """Write how many times the other's the one's is, by what stood side by side."""
    return report.figure(statistics.median(a / b for a, b in zip(one, other, strict=True)))


def _milliseconds(seconds: Sequence[float]) -> str:
    return report.seconds([value * 1000 for value in seconds])


if __name__ == "__main__":
    main()
