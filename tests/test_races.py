"""Whoever promotes at the same time: the target moves forward, nobody's work is lost, all of it once."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster.demo import daemon
from dataops_dagster.model import NothingToDo
from tests.conftest import Shop, make_shop
from tests.racing import crew
from tests.repositories import Workspace, git
from tests.telling import processes_of, wait_for

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("DATAOPS_RACE_ROUNDS", "40"))
"""200 take about eight minutes of a processor: whoever sets the variable runs them."""

SHOP = """\
project: shop
protocols: [file]
workspaces:
  dev: {repository: dev.git, environment: dev}
  staging:
    repository: staging.git
    environment: staging
    upstream: dev
    promote: change
"""


def push(workspace: Workspace, path: str, message: str) -> str:
    """Commit and push as a person does: who was too late fetches, and does it again."""
    for _ in range(50):
        git(workspace.clone, "fetch", "--quiet", "origin")
        git(workspace.clone, "reset", "--quiet", "--hard", "origin/main")
        (workspace.clone / path).write_text(f"{message}\n")
        git(workspace.clone, "add", "--all")
        git(workspace.clone, "commit", "--quiet", "-m", message)
        made = git(workspace.clone, "rev-parse", "HEAD")
        git(workspace.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main", code=None)
        if made in git(workspace.bare, "rev-list", "-50", "main").split():
            return made
    raise AssertionError("a person never got through")


def upstream_of(bare: Path, refs: str, key: str) -> Counter[str]:
    """Count the upstream commits that commits or tags say they brought."""
    told = git(bare, "for-each-ref", "--format=%(contents)", refs) if refs else ""
    told = told or git(bare, "log", "--format=%B", "main")
    return Counter(re.findall(rf"^{key}: (\w+)$", told, re.MULTILINE))


def check_round(shop: Shop, before: str, persons: list[str]) -> str:
    """Check what must hold at any time; returns the target's head."""
    bare = shop.staging.bare
    head = shop.staging.head
    history = set(git(bare, "rev-list", head).split())
    assert before in history, "the target moved elsewhere than forward"
    assert history.issuperset(persons), "a person's commit is lost"
    commits = upstream_of(bare, "", "Upstream-Commit")
    assert set(commits.values()) <= {1}, "one upstream commit was promoted twice"
    tags = upstream_of(bare, "refs/tags/dataops", "Upstream-Commit")
    assert tags == commits, "a promotion without its release, or a release without its promotion"
    return head


ANSWERS = {"Promoted", "NothingToDo", "Raced", "SUCCESS", "FAILURE"}
TRANSIENT = re.compile(r"cannot lock|hint: the cache|another process fetched|did not receive")


def test_two_daemons_and_four_workers_promote_one_target_while_people_push(tmp_path: Path):
    shop = make_shop(tmp_path, SHOP)
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        assert not instance.get_runs()  # the database is made: two cannot make it at once
    shop.dev.commit({"a.txt": "a\n"}, "Initial commit")
    shop.staging.commit({"b.txt": "b\n"}, "Initial commit")
    git(shop.staging.bare, "config", "core.logAllRefUpdates", "always")
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")  # shown when the test fails
    # Three machines: two share their caches with a daemon each, one has a worker alone.
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    machines = {"daemon-1": one, "daemon-2": two, "worker-1": one, "worker-2": one}
    machines |= {"worker-3": two, "worker-4": three}
    outcomes: Counter[str] = Counter()
    head, persons = shop.staging.head, [shop.staging.head]
    with (
        crew(tmp_path / "dataops.yaml", machines, tmp_path / "log") as racing,
        ThreadPoolExecutor() as pool,
    ):
        for number in range(ROUNDS):
            push(shop.dev, f"dev-{number % 7}.txt", f"change {number}")
            racing.begin()
            pushes = [
                pool.submit(push, shop.staging, f"staging-{number % 5}.txt", f"hotfix {number}")
            ]
            if chance.random() < 0.5:
                pushes.append(pool.submit(push, shop.dev, "late.txt", f"late {number}"))
            ended = racing.ended()
            persons.append(pushes[0].result())
            for push_ in pushes:
                push_.result()
            outcomes.update(outcome for answers in ended.values() for outcome in answers)
            head = check_round(shop, head, persons)
            told = [line for answers in ended.values() for line in answers]
            assert all(line in ANSWERS or TRANSIENT.search(line) for line in told), told
    print(outcomes)
    shop.promote("staging")
    assert isinstance(shop.promote("staging"), NothingToDo)
    git(shop.staging.bare, "merge-base", "--is-ancestor", shop.dev.head, "main")
    assert outcomes["Promoted"] + outcomes["SUCCESS"] > ROUNDS / 2
    check_moves(shop.staging.bare)
    check_runs(tmp_path / "dagster", outcomes)


def check_moves(bare: Path) -> None:
    """Check that each single move of the target was one forward."""
    heads = git(bare, "reflog", "--format=%H", "refs/heads/main").splitlines()
    assert len(heads) > ROUNDS
    for new, old in itertools.pairwise(heads):
        git(bare, "merge-base", "--is-ancestor", old, new)


def check_runs(home: Path, outcomes: Counter[str]) -> None:
    """Check that each run that was launched has ended, with a recorded outcome."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = instance.get_runs()
        assert len(runs) == outcomes["SUCCESS"] + outcomes["FAILURE"]
        assert all(run.is_finished for run in runs)
        for run in runs:
            if not run.is_success:
                told = [e.message for e in instance.all_logs(run.run_id)]
                print(run.run_id, told[-2:])


@pytest.mark.xdist_group("daemon")
def test_two_real_daemons_on_one_instance_promote_each_change_once(tmp_path: Path):
    automatic = SHOP.replace(
        "workspaces:", "automation: {enabled: true, interval: 5s}\nworkspaces:"
    )
    shop = make_shop(tmp_path, automatic)
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.get_runs()
    shop.dev.commit({"a.txt": "a\n"}, "Initial commit")
    shop.staging.commit({"b.txt": "b\n"}, "Initial commit")
    env = {
        "DAGSTER_HOME": str(home),
        "DATAOPS_CONFIG": str(tmp_path / "dataops.yaml"),
        "DATAOPS_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    head, persons = shop.staging.head, [shop.staging.head]
    command = (daemon.program("dagster-daemon"), "run", "-m", daemon.DEFINITIONS)
    with (
        daemon.running(*command, env=env, log=tmp_path / "one.log"),
        daemon.running(*command, env=env, log=tmp_path / "two.log"),
    ):
        for number in range(3):
            change = push(shop.dev, "dev.txt", f"change {number}")
            persons.append(push(shop.staging, "staging.txt", f"hotfix {number}"))
            has_it = ("merge-base", "--is-ancestor", change, "main")
            wait_for("the promotion", lambda: is_true(shop.staging.bare, *has_it))  # noqa: B023
            head = check_round(shop, head, persons)
    wait_for("the end of what they started", lambda: not processes_of(tmp_path), 60)
    check_round(shop, head, persons)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        keys = Counter(run.tags.get("dagster/run_key") for run in instance.get_runs())
    print(keys)
    assert len(keys) >= 3


def is_true(folder: Path, *arguments: str) -> bool:
    """Say whether git ends with success."""
    try:
        git(folder, *arguments)
    except AssertionError:
        return False
    return True
