"""Dagster's daemon, code server and run workers killed at chosen moments: all happens, and once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataops_dagster.demo import daemon
from tests.repositories import git
from tests.sweep import promises, worlds
from tests.sweep.daemon import MOMENTS
from tests.sweep.nursery import Nursery
from tests.sweep.promises import Facts
from tests.sweep.worlds import World
from tests.telling import processes_of, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daemon")]

CODE_SERVER, WORKER = "api grpc", "multiprocessing"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The project is in dev, and all else is to happen by itself."""
    with Nursery() as nursery:
        made = worlds.make(tmp_path / "world", nursery)
        made.configure(receive="change", run="change", promote="change", deploy="change")
        yield made


@pytest.fixture
def daemons(world: World) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start daemons, each to be killed at a moment; what they started ends with the test."""
    env = {**world.environment, "PYTHONPATH": str(Path(__file__).parents[1])}
    with ExitStack() as stack:

        def start(moment: str = "") -> subprocess.Popen[bytes]:
            command = (sys.executable, "-m", "tests.sweep.daemon", moment)
            running = daemon.running(*command, env=env, log=world.root / "log")
            return stack.enter_context(running)

        yield start
    wait_for("the end of all processes", lambda: not processes_of(world.root), 60)


def served(world: World) -> bool:
    """Say whether the platform serves production's head."""
    facts = promises.look(world)
    return facts.served == facts.targets["prod"].head


def all_is_over(world: World) -> Facts:
    """Return what is to be found when nothing is due any more."""
    ended = world.act("settle")
    assert ended.code == 0, ended.said
    return promises.look(world, ended)


def change_landed_once(world: World, facts: Facts) -> None:
    change = world.workspace("dev").head
    for name, target in facts.targets.items():
        assert len(target.line) == 2, "its first commit, and one promotion"
        assert list(target.releases.values()) == [target.head]
        bare = world.workspace(name).bare
        git(bare, "merge-base", "--is-ancestor", change, "refs/heads/main")
    staging, prod = facts.targets["staging"], facts.targets["prod"]
    assert staging.tree == prod.tree
    assert facts.told["evidence"] == [[staging.head, "passed"]]
    assert (facts.told["served"], facts.told["deployments"]) == (prod.head, 1)


def test_a_daemon_killed_between_evaluation_launch_and_cursor_does_everything_once(world, daemons):
    for moment in MOMENTS:
        process = daemons(moment)
        wait_for(f"the kill at {moment}", lambda p=process: p.poll() == -signal.SIGKILL, 120)
    daemons()
    wait_for("the deployment", lambda: served(world))
    facts = all_is_over(world)
    change_landed_once(world, facts)
    assert facts.told["runs"] == [
        *(["promote_shop", "SUCCESS"], ["run_shop", "SUCCESS"]),
        *(["promote_shop", "SUCCESS"], ["deploy_shop", "SUCCESS"]),
    ]
    asked = Counter(line.split()[0] for line in facts.platform if line.endswith("begins"))
    assert asked == {"run": 1, "deploy": 1}


def test_code_servers_and_workers_killed_at_work_leave_it_to_the_next(world, daemons):
    strikes = [
        ("git upload-pack", CODE_SERVER, "before", "its first look"),
        ("git merge-tree", CODE_SERVER, "during", "its first plan"),
        ("git receive-pack", WORKER, "before", "a worker before its push"),
        ("git receive-pack", WORKER, "during", "a worker in its push"),
        ("platform run", WORKER, "during", "a worker in a run"),
        ("git receive-pack", WORKER, "after", "a worker after its push"),
        ("platform deploy", WORKER, "after", "a worker after a deployment"),
    ]
    world.arm_for(*strikes[0][:3])
    daemons()
    for number, (*_, what) in enumerate(strikes, 1):
        wait_for(f"the kill of {what}", lambda: world.is_struck, 180)
        for following in strikes[number : number + 1]:
            world.arm_for(*following[:3])
    wait_for("the end", lambda: served(world) and not unfinished(world))
    facts = all_is_over(world)
    change_landed_once(world, facts)
    assert sum(status == "FAILURE" for _, status in facts.told["runs"]) == 5
    asked = Counter(line.split()[0] for line in facts.platform if line.endswith("begins"))
    assert asked == {"run": 2, "deploy": 2}, "each once more, as nobody could tell how it ended"


def unfinished(world: World) -> bool:
    """Say whether Dagster recorded no deployment yet."""
    ended = world.act("tell")
    return promises.look(world, ended).told["served"] is None
