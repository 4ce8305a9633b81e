"""What a project's definitions cost to load, beside the same number of bare assets, checks and jobs.

    python -m benchmarks.loading [--rounds 5] [--workspaces 1000] [--report benchmarks/results]

Each load is a process of its own; the two alternate. Reading the file is ours alone and counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from benchmarks import report

STEP = {"platform": "command", "command": ["true"]}


def main() -> None:
    """Measure both in turn, and print a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workspaces", type=int, default=1000)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--load", choices=("ours", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--given", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        print(
            json.dumps(load_ours(given.given) if given.load == "ours" else load_bare(given.given))
        )
        return
    page = measured(given.workspaces, given.rounds)
    print(page)
    if given.report:
        print(report.write(given.report, "loading", page))


def measured(workspaces: int, rounds: int) -> str:
    """Return the page."""
    ours: list[float] = []
    bare: list[float] = []
    machine = report.machine()
    with tempfile.TemporaryDirectory(prefix="dataops-loading-") as folder:
        path = Path(folder) / "dataops.yaml"
        path.write_text(yaml.dump(project(workspaces)))
        for number in range(rounds + 1):
            one = loaded("ours", str(path))
            other = loaded("bare", json.dumps(one["counts"]))
            if number:  # the first warms up
                ours.append(one["seconds"])
                bare.append(other["seconds"])
                print(f"round {number}: {ours[-1]:.2f} s, bare {bare[-1]:.2f} s", flush=True)
    counts = one["counts"]
    rows = [
        ("dataops_dagster", report.seconds(ours), report.ratio(ours, bare)),
        ("bare Dagster", report.seconds(bare), "1"),
    ]
    about = (
        f"The definitions of one project with {workspaces} workspaces, from its file to the asset"
        f" graph with all jobs resolved: {counts['assets']} assets, {counts['checks']} checks,"
        f" {counts['jobs']} jobs. Beside them as many bare ones, made by Dagster's own decorators, each"
        " job over a third of the assets. Loading touches no repository and no network.\n"
    )
    made = (
        f"Made by `python -m benchmarks.loading` on {machine}; dagster {dg.__version__};"
        f" rounds: {rounds}.\n"
    )
    table = report.table(("what", "seconds of the processor", ": bare"), rows)
    return f"# What loading a project costs\n\n{about}\n{made}\n{table}"


def loaded(what: str, given: str) -> dict[str, Any]:
    """Load once, in a process of its own."""
    words = ("-W", "ignore", "-m", "benchmarks.loading", f"--load={what}", f"--given={given}")
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def project(workspaces: int) -> dict[str, Any]:
    """Return a project of many chains: a source, a staging that runs, a production that deploys."""
    made: dict[str, Any] = {}
    for number in range(workspaces):
        one: dict[str, Any] = {
            "repository": f"https://git.example.com/data/w{number}.git",
            "environment": "any",
        }
        if number % 3:
            one |= {"upstream": f"w{number - 1}", "gate": {}, "promote": "change"}
        one |= ({}, {"run": STEP, "gate": {"runs": 0}}, {"deploy": STEP})[number % 3]
        made[f"w{number}"] = one
    return {"project": "many", "workspaces": made}


def load_ours(path: str) -> dict[str, Any]:
    """Load a project's definitions; returns the seconds it took and how many things there are."""
    from dataops_dagster.orchestration.definitions import build_dataops_definitions

    begun = time.process_time()
    defs = build_dataops_definitions(path)
    graph = resolved(defs)
    seconds = time.process_time() - begun
    counts = {
        "assets": len(graph.get_all_asset_keys()),
        "checks": len(graph.asset_check_keys),
        "jobs": len(list(defs.jobs or ())),
    }
    return {"seconds": seconds, "counts": counts}


def load_bare(given: str) -> dict[str, Any]:
    """Load as many bare definitions."""
    counts = json.loads(given)
    begun = time.process_time()
    assets = [asset(number) for number in range(counts["assets"])]
    checks = [check(number) for number in range(counts["checks"])]
    jobs = [
        dg.define_asset_job(
            f"j{number}", selection=dg.AssetSelection.assets(*assets[number % 3 :: 3])
        )
        for number in range(counts["jobs"])
    ]
    resolved(dg.Definitions(assets=assets, asset_checks=checks, jobs=jobs))
    return {"seconds": time.process_time() - begun}


def asset(number: int) -> dg.AssetsDefinition:
    """Return an asset that does nothing, after the one before it."""

    @dg.asset(name=f"a{number}", deps=[f"a{number - 1}"] if number % 3 else [])
    def made() -> None: ...

    return made


def check(number: int) -> dg.AssetChecksDefinition:
    """Return a check that passes."""

    @dg.asset_check(asset=f"a{number}", name="passes")
    def made() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    return made


def resolved(defs: dg.Definitions) -> Any:
    """Resolve the asset graph and each job, as a code location does."""
    for job in defs.jobs or ():
        defs.resolve_job_def(job.name)
    return defs.resolve_asset_graph()


if __name__ == "__main__":
    main()
