"""How long a green staging run takes to become a pushed production, beside an empty job's run.

    python -m benchmarks.latency [--rounds 7]

A real daemon with its sensors at 5 s does both in turn. Times are of this machine and this hour;
the ratio is what can be compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from dataops_dagster import config
from dataops_dagster.demo import daemon
from dataops_dagster.demo.world import World, commit, create
from dataops_dagster.heads import look_up
from dataops_dagster.orchestration.instance import HomeInstance

ROOT = Path(__file__).parent.parent
WORKSPACE = f"""
load_from:
  - python_module: {daemon.DEFINITIONS}
  - python_module: {{module_name: benchmarks.empty, working_directory: {ROOT}}}
"""
RUN = "platform: command, command: ['true']"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="dataops-latency-") as folder:
        world = create(Path(folder) / "world", "meltano")
        # Staging's run costs nothing here: what is measured comes after it.
        text = world.config.read_text()
        before, _, after = text.partition("    run:\n")
        rest = after.partition("  prod:\n")[2]
        world.config.write_text(f"{before}    run: {{{RUN}}}\n  prod:\n{rest}")
        os.environ.update(world.environment())
        workspace = world.home / "workspace.yaml"
        workspace.write_text(WORKSPACE)
        command = (daemon.program("dagster-daemon"), "run", "-w", str(workspace))
        with daemon.running(*command, env=world.environment(), log=world.home / "daemon.log"):
            measure(world, workspace, rounds)


def measure(world: World, workspace: Path, rounds: int) -> None:
    """Let both happen in turn; the first round warms up and does not count."""
    pushed, empty = [], []
    for number in range(rounds + 1):
        one, other = green_to_pushed(world, number), empty_run(workspace)
        if number:
            pushed.append(one)
            empty.append(other)
            print(f"round {number}: pushed {one:.1f} s, empty run {other:.1f} s", flush=True)
    print("\n| what | median s | min | max | ratio to an empty run |\n|---|---|---|---|---|")
    floor = statistics.median(empty)
    for what, times in (("green run → pushed production", pushed), ("an empty job's run", empty)):
        median = statistics.median(times)
        row = f"{median:.1f} | {min(times):.1f} | {max(times):.1f} | {median / floor:.1f}"
        print(f"| {what} | {row} |")


def green_to_pushed(world: World, number: int) -> float:
    """Return the seconds from staging's evidence to production's new head."""
    project = config.load(world.config)
    instance = HomeInstance()

    def head(name: str) -> str:
        return look_up(project, project.workspaces[name]).commit or ""

    staging, prod = head("staging"), head("prod")
    (world.clone / "round").write_text(f"{number}\n")
    commit(world.clone, f"Round {number}")
    wait_for(lambda: head("prod") != prod)
    now = time.time()
    proven = head("staging")
    assert proven != staging
    (evidence,) = instance.find(project.name, "staging", "staging", [proven])
    # The deployment that follows must not disturb what is measured next.
    wait_for(lambda: instance.deployed(project.name, "prod") == head("prod"))
    return now - evidence.time.timestamp()


def empty_run(workspace: Path) -> float:
    """Return the seconds from an empty run's creation to its end."""
    launch = ("job", "launch", "-w", str(workspace), "-l", "benchmarks.empty", "-j", "empty")
    subprocess.run([daemon.program("dagster"), *launch], check=True, capture_output=True, cwd=ROOT)
    with dg.DagsterInstance.get() as instance:

        def newest() -> dg.RunRecord:
            return instance.get_run_records(dg.RunsFilter(job_name="empty"), limit=1)[0]

        wait_for(lambda: newest().end_time)
        record = newest()
        return (record.end_time or 0) - record.create_timestamp.timestamp()


def wait_for(look: Callable[[], object]) -> None:
    """Wait until something is true, looking ten times a second."""
    limit = time.monotonic() + 120
    while not look():
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.1)


if __name__ == "__main__":
    main()
