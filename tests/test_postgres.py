"""Beyond one machine: a real PostgreSQL server, and processes that share no disk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import postgres
from dataops_dagster.cli import main
from dataops_dagster.demo import daemon
from tests.conftest import PROJECT_FILES, SHOP
from tests.deployment import EXAMPLES, Deployment, Machine, running
from tests.repositories import Workspace, git, make_workspace
from tests.smart_http import SmartHttpServer
from tests.telling import unused_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Server]:
    """A PostgreSQL server of the tests' own."""
    assert not postgres.missing()
    with postgres.running() as server:
        yield server


def make_workspaces(root: Path) -> dict[str, Workspace]:
    """Make the shop's repositories."""
    made = {name: make_workspace(root, name) for name in ("dev", "staging", "prod")}
    made["dev"].commit(PROJECT_FILES, "Initial commit")
    made["staging"].commit({"README.md": "# staging\n"}, "Initial commit")
    made["prod"].commit({"README.md": "# prod\n"}, "Initial commit")
    return made


class Slow(SmartHttpServer):
    """A server that takes its time to greet, as one far away."""

    seconds = 0.0

    def finish_request(self, request, client_address):
        time.sleep(self.seconds)
        super().finish_request(request, client_address)


@contextmanager
def reached_by_http(root: Path) -> Iterator[Slow]:
    """Serve the repositories, so that nobody needs their disk."""
    server = Slow(root)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def project_at(url: str) -> str:
    """Return the shop's dataops.yaml with its repositories at a server."""
    project = SHOP.replace("[file]", "[http]\nautomation: {interval: 5s}")
    return project.replace("repository: ", f"repository: {url}/")


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory) -> dict[str, Workspace]:
    return make_workspaces(tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="module")
def server(workspaces) -> Iterator[Slow]:
    """The git server of the workspaces."""
    with reached_by_http(workspaces["dev"].bare.parent) as made:
        yield made


@pytest.fixture(scope="module")
def deployment(database, server, tmp_path_factory) -> Iterator[Deployment]:
    """The production example, with two code locations of the one project."""
    folder, variables = tmp_path_factory.mktemp("machines"), database.variables("dagster")
    locations = {"one": unused_port(), "two": unused_port()}
    made = Deployment(folder, variables, project_at(server.url), locations)
    with running(made, "webserver", "daemon"):
        yield made


LONG = 8.0
"""Seconds of a server's greeting: more than between two workers' starts, and not yet silence."""


def command(words: list[str], machine: Machine) -> str:
    """Call a command on a machine; returns what it prints."""
    env = {**os.environ, **machine.environment}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def at_once(deployment):
    """Launch runs while no daemon is there, so that it finds all of them in the queue at once."""

    def launched(*launches):
        deployment.machines["daemon"].lose()
        try:
            runs = [launch() for launch in launches]
        finally:
            deployment.start("daemon")  # the tests that follow need it, too
        return deployment.end_of(*runs)

    return launched


def statuses(ended) -> list[str]:
    return [run["status"] for run in ended]


def prove(deployment: Deployment, location: str) -> None:
    """Bring dev's head into staging, and run it there."""
    assert statuses(deployment.end_of(deployment.promote(location, "staging"))) == ["SUCCESS"]
    assert statuses(deployment.end_of(deployment.run(location, "staging"))) == ["SUCCESS"]


def test_a_change_reaches_production_through_machines_that_are_lost(
    deployment, workspaces, server, at_once, monkeypatch
):
    staging, prod = workspaces["staging"], workspaces["prod"]
    assert statuses(deployment.end_of(deployment.promote("one", "staging"))) == ["SUCCESS"]
    deployment.machines["one"].lose()
    assert statuses(deployment.end_of(deployment.run("two", "staging"))) == ["SUCCESS"]
    deployment.machines["two"].lose()
    for name in ("one", "two"):
        deployment.start(name)
    wait_for("the code locations", deployment.loaded)
    # Nobody has promoted into production before: its pool has no limit yet, so both run at once.
    monkeypatch.setattr(server, "seconds", LONG)
    both = [lambda name=name: deployment.promote(name, "prod") for name in ("one", "two")]
    first, second = at_once(*both)
    assert statuses([first, second]) == ["SUCCESS", "SUCCESS"]
    assert max(first["startTime"], second["startTime"]) < min(first["endTime"], second["endTime"])
    monkeypatch.undo()
    assert len(prod.tags()) == 1
    assert prod.tree() == staging.tree()
    assert statuses(deployment.end_of(deployment.deploy("two", "prod"))) == ["SUCCESS"]
    # Each has what it fetched, and the parts that run no code of ours have nothing.
    for name, machine in deployment.machines.items():
        assert bool(list(machine.folder.rglob("*.git"))) == (name in ("one", "two"))


def test_promotions_into_one_target_wait_for_each_other_in_the_pool(
    deployment, workspaces, server, at_once, monkeypatch
):
    workspaces["dev"].commit({"pipeline.yml": "source: users\ntarget: lake\n"}, "Another change")
    prove(deployment, "two")
    before = workspaces["prod"].tags()
    limit = ("instance", "concurrency", "set", "dataops__shop__prod", "1")
    command([daemon.program("dagster"), *limit], deployment.machines["daemon"])
    monkeypatch.setattr(server, "seconds", LONG)
    both = [lambda name=name: deployment.promote(name, "prod") for name in ("one", "two")]
    first, second = sorted(at_once(*both), key=lambda run: run["startTime"])
    print(first, second)
    assert statuses([first, second]) == ["SUCCESS", "SUCCESS"]
    assert second["startTime"] >= first["endTime"]
    assert len(set(workspaces["prod"].tags()) - set(before)) == 1


def to_do(deployment: Deployment) -> dict[str, str]:
    """Return what `dataops check` finds to do on one of the machines."""
    told = command([daemon.program("dataops"), "check", "--json"], deployment.machines["two"])
    return {found["what"]: found["mend"] for found in json.loads(told)["instance"] if found["mend"]}


def test_check_finds_nothing_to_do_on_a_running_instance_with_its_sensors_on(deployment):
    wait_for("the daemon", lambda: to_do(deployment).keys() == {"sensors of shop"})
    with deployment.automatic("two"):
        assert to_do(deployment) == {}


SERVED = """
{ assetNodeOrError(assetKey: {path: ["shop", "prod", "deployment"]}) {
    ... on AssetNode { dataVersion } } }
"""
SLOW = "echo begun; for i in $(seq 100); do sleep 0.1; echo $i; done; test ! -e broken\n"


@pytest.mark.parametrize("away", [0, 20], ids="away for {} s".format)
def test_a_database_that_is_away_during_a_run_keeps_no_change_from_production(
    deployment, workspaces, database, away
):
    staging, prod = workspaces["staging"], workspaces["prod"]
    workspaces["dev"].commit({"run.sh": SLOW, "away.txt": str(away)}, "Take ten seconds")
    assert statuses(deployment.end_of(deployment.promote("one", "staging"))) == ["SUCCESS"]
    run = deployment.run("one", "staging")
    wait_for("the run", lambda: deployment.status(run)["status"] == "STARTED")
    database.stop()
    time.sleep(away)
    database.start()
    (ended,) = deployment.end_of(run)
    print(ended)  # which of the two depends on what was being written
    assert ended["status"] in ("SUCCESS", "FAILURE")
    with deployment.automatic("two"):
        wait_for("the promotion", lambda: prod.tree() == staging.tree())


def test_a_database_that_is_away_during_a_promotion_neither_loses_nor_doubles_it(
    deployment, workspaces, server, database, monkeypatch
):
    staging, prod = workspaces["staging"], workspaces["prod"]
    workspaces["dev"].commit({"run.sh": "true\n"}, "Move on")
    prove(deployment, "one")
    before, tags = prod.head, prod.tags()
    monkeypatch.setattr(server, "seconds", LONG)
    run = deployment.promote("one", "prod")
    wait_for("the run", lambda: deployment.status(run)["status"] == "STARTED")
    database.stop()
    monkeypatch.undo()
    time.sleep(15)  # it lands while nobody can record it
    database.start()
    (ended,) = deployment.end_of(run)
    print(ended)
    assert ended["status"] in ("SUCCESS", "FAILURE")
    with deployment.automatic("two"):
        wait_for("the promotion", lambda: prod.tree() == staging.tree())
        wait_for("the deployment", lambda: deployed(deployment) == prod.head)
    assert git(prod.bare, "merge-base", "--is-ancestor", before, "main") == ""
    assert len(prod.tags()) == len(tags) + 1


def deployed(deployment: Deployment) -> str:
    """Return what production serves, as Dagster's page shows it."""
    told = deployment.ask(SERVED)
    return told["dataVersion"] if told else ""


def test_runs_take_place_on_celerys_workers(database, tmp_path):
    (tmp_path / "servers").mkdir()
    workspaces = make_workspaces(tmp_path / "servers")
    variables = database.variables("celery")
    database.variables("broker")
    # Celery keeps its queue in any database; yours is likely to be Redis or RabbitMQ.
    variables["CELERY_BROKER_URL"] = f"sqla+{database.url('broker')}"
    variables["CELERY_RESULT_BACKEND"] = f"db+{database.url('broker')}"
    with reached_by_http(tmp_path / "servers") as server:
        project = project_at(server.url)
        made = Deployment(tmp_path, variables, project, {"one": unused_port()}, "celery")
        with running(made, "webserver", "daemon", "worker"):
            prove(made, "one")
            assert statuses(made.end_of(made.promote("one", "prod"))) == ["SUCCESS"]
    assert workspaces["prod"].tree() == workspaces["staging"].tree()
    using = {name for name, m in made.machines.items() if list(m.folder.rglob("*.git"))}
    assert using == {"worker"}


@pytest.mark.parametrize("words", [("check",), ("why", "prod")], ids=" ".join)
def test_a_database_that_does_not_answer_is_told_in_words(shop, tmp_path, monkeypatch, words):
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((EXAMPLES / "production" / "dagster.yaml").read_text())
    told = {"HOST": "127.0.0.1", "PORT": str(unused_port()), "DB": "dagster"}
    told |= {"USER": "dagster", "PASSWORD": "hunter2"}
    for name, value in told.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DATAOPS_CONFIG", str(shop.root / "dataops.yaml"))
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 3
    assert isinstance(done.exception, SystemExit)
    assert f"the storage which {home}/dagster.yaml names" in re.sub(r"\s+", " ", done.output)
    assert "hunter2" not in done.output
