"""What a subject of the sweep does: one act, by the product's own command line or by Dagster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

from dataops_dagster import cli
from dataops_dagster.orchestration import deployments

TOLD = "told: "
ROUNDS = 8
"""After so many looks at most nothing is due any more."""


def command(*words: str) -> int:
    """Run `dataops --json`; returns its exit code."""
    try:
        cli.main(["--config", "dataops.yaml", "--json", *words], prog_name="dataops")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def look() -> int:
    """Evaluate both sensors once, as the daemon does, and do what they ask for; returns how much."""
    import dagster as dg

    from tests.dagster_shop import DagsterShop

    def key(request: dg.RunRequest) -> dict[str, str]:
        return {"dagster/run_key": str(request.run_key)}

    with dg.DagsterInstance.get() as instance:
        dagster = DagsterShop(SimpleNamespace(root=Path.cwd()), instance)
        dagster.tick("heads_shop")
        requests = [
            request
            for request in dagster.tick("gates_shop").run_requests or []
            if not instance.get_run_records(dg.RunsFilter(tags=key(request)), limit=1)
        ]
        for request in requests:
            # The daemon writes the key into the run, and launches none for a key that it finds.
            dagster.launch(request._replace(tags={**request.tags, **key(request)}))
        return len(requests)


def settle() -> int:
    """Look until nothing is due; tells then, and returns 0 when that comes about."""
    is_over = any(not look() for _ in range(ROUNDS))
    tell()
    return 0 if is_over else 1


def tell() -> int:
    """Print what Dagster knows."""
    import dagster as dg

    from dataops_dagster.orchestration import records

    with dg.DagsterInstance.get() as instance:
        told = {
            "served": deployments.deployed(instance, "shop", "prod"),
            "deployments": len(deployments.served(instance, "shop", "prod")),
            "evidence": [
                [found.commit, found.outcome.value]
                for record in instance.get_run_records(dg.RunsFilter(job_name="run_shop"))
                for found in records.evidence_of(instance, record, "shop", "staging")
            ],
            "runs": [
                [record.dagster_run.job_name, record.dagster_run.status.value]
                for record in instance.get_run_records(ascending=True)
            ],
            "rejected": sorted(
                {d.commit for d in records.decisions_of(instance, "shop", "prod") if d.commit}
            ),
        }
    print(f"\n{TOLD}{json.dumps(told)}")
    return 0


def tick() -> int:
    """Look once."""
    look()
    return 0


ACTS: Mapping[str, Callable[[], int]] = {
    "promote staging": lambda: command("promote", "staging"),
    "promote prod": lambda: command("promote", "prod"),
    "roll back": lambda: command("rollback", "prod", "--reason", "it is wrong", "--by", "Grace"),
    "deploy at Tinybird": lambda: command("tinybird", "deploy", "staging"),
    "tick": tick,
    "settle": settle,
    "tell": tell,
}


def main(name: str) -> int:
    """Do one act in this folder, by itself; returns the exit code."""
    return ACTS[name]()
