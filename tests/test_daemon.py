"""The demo's flow under a real daemon: as told, killed at random, interrupted by Ctrl-C."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataops_dagster import config
from dataops_dagster.demo import daemon
from dataops_dagster.demo.world import World, commit, create
from dataops_dagster.heads import Head, look_up
from dataops_dagster.orchestration.instance import HomeInstance
from tests.repositories import git
from tests.telling import demo, processes_of, unused_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daemon")]


@pytest.fixture(scope="module")
def told(meltano_command: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str]:
    """The demo was told to its end; its world and what it said."""
    home = tmp_path_factory.mktemp("told") / "demo"
    process = demo(home, meltano_command)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return World(home), said


def test_the_demo_says_that_the_change_is_deployed_and_why_the_other_is_not(told):
    _, said = told
    said = re.sub(r"\s+", " ", said)
    assert "deployed: the platform serves" in said
    assert "waits for a successful run of staging in environment staging: its run at" in said
    assert "the users file data/new.jsonl does not exist" in said


def test_the_demos_production_holds_the_tested_tree_and_the_release_tag(told):
    world, _ = told
    staging, prod = world.repository("staging"), world.repository("prod")
    (tag,) = git(prod, "tag", "--list").splitlines()
    assert git(prod, "rev-parse", f"{tag}^{{commit}}") == git(prod, "rev-parse", "main")
    record = git(prod, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")
    tested = re.search(r"^Evidence: staging (\w+) passed in staging, run ", record, re.MULTILINE)[1]
    assert git(prod, "rev-parse", "main^{tree}") == git(staging, "rev-parse", f"{tested}^{{tree}}")


def test_the_demos_production_has_no_trace_of_the_failed_change(told):
    world, _ = told
    prod = world.repository("prod")
    bad = git(world.clone, "rev-parse", "HEAD")
    git(prod, "cat-file", "-e", bad, code=1)
    contents = git(prod, "grep", "-c", "new.jsonl", "main", code=1)
    assert contents == ""
    assert "new export" not in git(prod, "log", "--all", "--format=%B")


def test_the_demos_platform_serves_the_promoted_commit_deployed_once(told):
    world, _ = told
    head = git(world.repository("prod"), "rev-parse", "main")
    assert (world.platform / "prod" / "deployments.log").read_text() == f"{head}\n"
    assert (world.platform / "prod" / "current").readlink() == Path(head)


def test_nothing_of_the_demo_runs_when_it_is_over(told):
    world, _ = told
    assert processes_of(world.home) == []


def test_a_moved_upstream_shows_as_stale_downstream_in_dagsters_ui(told):
    world, _ = told
    port = unused_port()
    arguments = ("-m", daemon.DEFINITIONS, "-h", "127.0.0.1", "-p", str(port))
    webserver = daemon.program("dagster-webserver")
    query = {"query": "{assetNodes{assetKey{path} staleStatus staleCauses{reason}}}"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps(query).encode(),
        headers={"Content-Type": "application/json"},
    )
    nodes: dict[str, dict[str, object]] = {}

    def answers() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                found = json.load(response)["data"]["assetNodes"]
        except OSError:
            return False
        nodes.update({"/".join(node["assetKey"]["path"]): node for node in found})
        return bool(found)

    with daemon.running(
        webserver, *arguments, env=world.environment(), log=world.home / "webserver.log"
    ):
        wait_for("the webserver", answers, 120)
    assert nodes["shop/staging"]["staleStatus"] == "FRESH"
    assert nodes["shop/prod"]["staleStatus"] == "STALE"
    assert nodes["shop/prod"]["staleCauses"] == [{"reason": "has a new data version"}]
    assert nodes["shop/prod/deployment"]["staleStatus"] in ("FRESH", "STALE")


@pytest.fixture
def world(meltano_command: str, tmp_path: Path, monkeypatch) -> World:
    """The demo's workspaces before anything happened."""
    made = create(tmp_path / "demo", meltano_command)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def daemons(world: World) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start daemons; what they started ends with the test, also when they were killed before."""
    with ExitStack() as stack:
        command = (daemon.program("dagster-daemon"), "run", "-m", daemon.DEFINITIONS)

        def start() -> subprocess.Popen[bytes]:
            running = daemon.running(*command, env=world.environment(), log=world.home / "log")
            return stack.enter_context(running)

        yield start
    assert processes_of(world.home) == []


def test_a_daemon_killed_at_random_moments_does_everything_once(world: World, daemons):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")  # shown when the test fails
    project = config.load(world.config)
    path = world.clone / "meltano.yml"
    path.write_text(path.read_text().replace("fields: id,email", "fields: id,email,last_login"))
    change = commit(world.clone, "Load the users' last login too")

    for _ in range(4):
        process = daemons()
        time.sleep(chance.uniform(2, 14))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    daemons()

    def head(name: str) -> Head:
        return look_up(project, project.workspaces[name])

    served = world.platform / "prod" / "deployments.log"
    wait_for("the deployment", lambda: served.exists() and HomeInstance().deployed("shop", "prod"))
    staging, prod = head("staging"), head("prod")
    time.sleep(12)  # two more looks of the sensors
    assert (head("staging"), head("prod")) == (staging, prod)
    assert served.read_text() == f"{prod.commit}\n"
    for found in (staging, prod):
        assert list(found.releases.values()) == [found.commit]
        repository = world.repository(found.workspace)
        assert git(repository, "merge-base", "--is-ancestor", change, "main") == ""
        promotions = git(repository, "log", "--first-parent", "--format=%s", "main").splitlines()
        assert sum(subject.startswith("Promote") for subject in promotions) == 1
    assert HomeInstance().due(project).requests == []


@pytest.mark.parametrize("seconds", [3, 12])
def test_ctrl_c_leaves_no_process(seconds: int, meltano_command: str, tmp_path: Path):
    home = tmp_path / "demo"
    process = demo(home, meltano_command)
    wait_for("the demo's daemon", (home / "daemon.log").exists, 60)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "no process is left" in said
    assert processes_of(home) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_in_the_background_of_a_script_ends_by_either_signal(
    number: signal.Signals, meltano_command: str, tmp_path: Path
):
    home = tmp_path / "demo"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script's shell does for `&`
    try:
        process = demo(home, meltano_command)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for("the demo's daemon", (home / "daemon.log").exists, 60)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert processes_of(home) == []
