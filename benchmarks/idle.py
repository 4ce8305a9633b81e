"""What a look with nothing to do costs, beside the bare look-ups of its heads.

    python -m benchmarks.idle [--workspaces 1000] [--rounds 5] [--report benchmarks/results]

Chains of a source, a staging that was run and a production that is deployed, all settled, on one
server; Dagster's instance is kept in SQLite. In one process the bare look-ups and a tick of each
sensor take turns. Times are of this machine and this hour; the ratios are what can be compared.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from benchmarks import report, server, worlds
from benchmarks.processes import ROOT, Cost, orderly_end
from dataops_dagster import build_dataops_definitions, config
from dataops_dagster.heads import look_up_all

STEP = {"platform": "command", "command": ["true"], "deadline": "1m"}
CHAIN = 3
TOGETHER = 10 * CHAIN
"""How many workspaces are made ready by one Dagster run: few, as it would be in life."""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workspaces", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--report", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    names = [f"w{i:04}" for i in range(given.workspaces)]
    machine = report.machine()
    warnings.simplefilter("ignore")
    logging.getLogger("dagster").setLevel(logging.WARNING)
    with orderly_end(), tempfile.TemporaryDirectory(prefix="dataops-benchmark-") as scratch:
        folder = Path(scratch)
        (folder / "instance").mkdir()
        _make(folder, names)
        with (
            server.running(folder / "served") as running,
            dg.DagsterInstance.local_temp(str(folder / "instance")) as instance,
        ):
            for some in (names[i : i + TOGETHER] for i in range(0, len(names), TOGETHER)):
                _settle(_configured(folder, some, running.url), instance)
                print(f"settled up to {some[-1]}", flush=True)
            measured = _rounds(_configured(folder, names, running.url), instance, given.rounds)
    _write(given, machine, measured)


def _make(folder: Path, names: Sequence[str]) -> None:
    """Copy one small repository; in each copy a release stands under the workspace's own name."""
    world = worlds.make("deep", 0.0, folder)
    worlds.git(world.staging, "pack-refs", "--all")
    tag = f"object {world.tip}\ntype commit\ntag release\ntagger G <g@example.com> {world.end} +0000\n"
    id_ = worlds.git(world.staging, "mktag", stdin=f"{tag}\nrelease\n".encode())
    for name in names:
        made = folder / "served" / f"{name}.git"
        shutil.copytree(world.staging, made)
        (made / "packed-refs").write_text(
            "# pack-refs with: peeled fully-peeled sorted \n"
            f"{world.tip} refs/heads/main\n"
            f"{id_} refs/tags/dataops/many/{name}/1\n^{world.tip}\n"
        )


def _configured(folder: Path, names: Sequence[str], url: str) -> Path:
    """Write a project of these workspaces; those of a chain stand behind each other."""
    workspaces: dict[str, Any] = {}
    for i, name in enumerate(names):
        one: dict[str, Any] = {"repository": f"{url}/{name}.git", "environment": "any"}
        if i % CHAIN:
            one |= {"upstream": names[i - 1], "promote": "change"}
        one |= ({}, {"run": STEP}, {"deploy": STEP, "gate": {}})[i % CHAIN]
        workspaces[name] = one
    path = folder / "dataops.yaml"
    path.write_text(yaml.dump({"project": "many", "protocols": ["http"], "workspaces": workspaces}))
    return path


def _settle(path: Path, instance: dg.DagsterInstance) -> None:
    """Record heads, deploy and run each workspace: by the real jobs, many in one run."""
    defs = build_dataops_definitions(path)
    _tick(defs, "heads_many", instance)
    for job in ("deploy_many", "run_many"):
        if not defs.resolve_job_def(job).execute_in_process(instance=instance).success:
            raise AssertionError(f"{job} failed")


def _tick(defs: dg.Definitions, sensor: str, instance: dg.DagsterInstance) -> int:
    """Evaluate a sensor as the daemon does; returns how much it asked for or told."""
    with dg.build_sensor_context(instance=instance, definitions=defs) as context:
        answer: Any = defs.get_sensor_def(sensor)(context)
    for event in answer.asset_events or ():
        instance.report_runless_asset_event(event)
    return len(answer.asset_events or ()) + len(answer.run_requests or ())


def _rounds(path: Path, instance: dg.DagsterInstance, rounds: int) -> dict[str, list[Cost]]:
    """Let all have their turns, until nothing is to do; the first idle round warms up."""
    defs, project = build_dataops_definitions(path), config.load(path)
    turns: dict[str, Callable[[], int]] = {
        "bare look-ups": lambda: len(look_up_all(project)) and 0,
        "heads sensor": lambda: _tick(defs, "heads_many", instance),
        "gates sensor": lambda: _tick(defs, "gates_many", instance),
    }
    while told := sum(turn() for turn in turns.values()):
        print(f"not idle yet: {told}", flush=True)
    measured: dict[str, list[Cost]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, cost in _round(turns):
            print(f"round {number}: {name} {cost.seconds:.2f} s, of processors {cost.cpu:.2f} s")
            if number:
                measured[name].append(cost)
    return measured


def _processor_seconds() -> float:
    """Return what this process and its ended children took so far; the server is not one of them."""
    taken = os.times()
    return sum(taken[:4])


def _round(turns: dict[str, Callable[[], int]]) -> Iterator[tuple[str, Cost]]:
    for name, turn in turns.items():
        start, cpu = time.perf_counter(), _processor_seconds()
        if turn():
            raise AssertionError(f"{name}: something was to do")
        yield name, Cost(time.perf_counter() - start, _processor_seconds() - cpu)


_INTRODUCTION = """\
# What a look with nothing to do costs

One project of {count} workspaces on one server: chains of a source, a staging that was run, and a production
with a gate that is deployed. All of it is settled. A tick of each sensor beside the bare look-ups of the same
heads, in one process and in turns, rounds: {rounds} after one to warm up. Medians, with the least and the most in
brackets. Processor seconds are those of a code server's process; Dagster's daemon has some 0.1 for each tick
beside, however many workspaces there are.

Made by `python -m benchmarks.idle` on {machine}; dagster {dagster}, SQLite.
"""


def _write(given: argparse.Namespace, machine: str, measured: dict[str, list[Cost]]) -> None:
    bare = [cost.cpu for cost in measured["bare look-ups"]]
    rows = [
        (
            name,
            report.seconds([cost.seconds for cost in costs]),
            report.seconds([cost.cpu for cost in costs]),
            report.figure(statistics.median(c.cpu for c in costs) / statistics.median(bare)),
        )
        for name, costs in measured.items()
    ]
    about = _INTRODUCTION.format(
        count=given.workspaces, rounds=given.rounds, machine=machine, dagster=dg.__version__
    )
    header = ("", "seconds", "processor seconds", ": bare look-ups")
    print(report.write(given.report, "idle", about, report.table(header, rows)).read_text())


if __name__ == "__main__":
    main()
