"""What looks remember: it spares the instance, and changes no answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster import clock, config
from dataops_dagster.heads import look_up_all
from dataops_dagster.orchestration import deployments, records, sensors
from dataops_dagster.orchestration.memory import LOOKS, Memory
from tests.conftest import SHOP, Shop
from tests.dagster_shop import DagsterShop
from tests.repositories import git


@pytest.fixture
def settled(shop: Shop) -> Iterator[DagsterShop]:
    """The first commit of dev is in production and deployed; all sensors know it."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = DagsterShop(shop, instance)
        made.settle()
        for sensor in ("heads_shop", "gates_shop") * 2:
            made.tick(sensor)
        yield made


def compare(shop: DagsterShop) -> None:
    """Look once with and once without memory: both say the same, and heads are recorded truly."""
    found = shop.tick("gates_shop")
    fresh = shop.due(datetime.now(timezone.utc))
    heads = look_up_all(shop.shop.project)
    keys = [request.run_key for request in found.run_requests or []]
    assert keys == [request.run_key for request in fresh.requests]
    if not keys:
        assert found.skip_reason.skip_message == "\n".join(fresh.reasons)
    shop.tick("heads_shop")
    for workspace in shop.shop.project.workspaces.values():
        told = records.recorded_head(shop.instance, "shop", workspace)
        assert told == heads[workspace.name].commit


def test_a_look_with_nothing_to_do_leaves_the_instance_alone(settled: DagsterShop, monkeypatch):
    asked = []
    looks = dict.fromkeys(("recorded_head", "shown_gate", "evidence_of"), records)
    for name, module in {**looks, "deployed": deployments}.items():
        real = getattr(module, name)

        def counted(*given, _name=name, _real=real):
            asked.append(_name)
            return _real(*given)

        monkeypatch.setattr(module, name, counted)
    settled.tick("heads_shop")
    settled.tick("gates_shop")
    # Of three workspaces one is asked for again, as always one of fifty is.
    assert asked.count("recorded_head") == 1
    assert len(asked) <= 3
    for _ in range(2):
        settled.tick("gates_shop")
    assert {"deployed", "shown_gate", "evidence_of"} <= set(asked)  # in its turn, each


@pytest.mark.slow
def test_what_a_run_tells_is_known_at_the_next_look(settled: DagsterShop):
    shop = settled.shop
    first = shop.prod.head
    shop.dev.commit({"new.txt": ""})
    settled.settle()
    compare(settled)
    assert settled.deploy(commits={"prod": first}).success
    compare(settled)
    assert "another commit deployed by hand since" in settled.why()
    assert settled.roll_back().success
    compare(settled)


def test_a_look_that_took_too_long_goes_on_at_the_next_with_what_it_left_out(
    shop: Shop, monkeypatch
):
    monkeypatch.setattr(sensors, "LOOK_SECONDS", -1.0)
    with dg.DagsterInstance.ephemeral() as instance:
        slow = DagsterShop(shop, instance)
        told = [slow.tick("heads_shop").asset_events or [] for _ in range(3)]
        assert [len(events) for events in told] == [2, 1, 0]  # the source costs nothing; then prod
        looks = [slow.tick("gates_shop") for _ in range(3)]
        asked = [[r.run_key.split()[1] for r in look.run_requests or []] for look in looks]
        assert asked == [[], ["staging"], []]  # dev first, then staging, then prod
        assert "prod: not yet" in looks[2].skip_reason.skip_message
        assert "staging: comes first at the next look" in looks[0].skip_reason.skip_message


@dg.job
def somebodys() -> None: ...


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that had a run of somebody's."""
    with dg.DagsterInstance.ephemeral() as made:
        made.create_run_for_job(somebodys)
        yield made


@pytest.fixture
def memory(tmp_path: Path, instance: dg.DagsterInstance) -> Memory:
    """A memory that has looked at the instance before."""
    (tmp_path / "dataops.yaml").write_text(SHOP)
    made = Memory(config.load(tmp_path / "dataops.yaml"))
    made.refresh(instance)
    return made


def known_after(memory: Memory, instance: dg.DagsterInstance) -> bool:
    """Say whether prod is still known at the next look, at which one is forgotten in any case."""
    memory.forget("prod")
    memory.keep("one", "read")
    memory.keep("prod", "read")
    memory.refresh(instance)
    return memory.recall("prod") is not None


def test_another_instance_is_not_taken_for_the_one_that_is_remembered(memory: Memory, instance):
    assert known_after(memory, instance)
    with dg.DagsterInstance.ephemeral() as other:
        other.create_run_for_job(somebodys)
        assert not known_after(memory, other)


def test_an_instance_without_runs_gives_nothing_to_go_by(memory: Memory):
    with dg.DagsterInstance.ephemeral() as empty:
        memory.refresh(empty)
        assert not known_after(memory, empty)


@pytest.mark.parametrize(
    ("tags", "name", "is_known"),
    [
        ({}, "somebodys", True),
        ({}, "run_shop", False),
        ({"dataops.run/shop.prod": "x"}, "somebodys", False),
        ({"dataops.run/shop.staging": "x"}, "somebodys", False),  # its upstream
        ({"dataops.run/shop.dev": "x"}, "somebodys", True),
        ({"dataops.run/other.prod": "x"}, "somebodys", True),
    ],
)
def test_a_run_is_heard_of_by_the_workspaces_that_it_may_concern(
    memory: Memory, instance: dg.DagsterInstance, tags, name, is_known
):
    job = dg.JobDefinition(name=name, graph_def=somebodys.graph)
    instance.create_run_for_job(job, tags=tags)
    assert known_after(memory, instance) == is_known


def test_nothing_is_remembered_while_a_clock_is_behind_what_runs_said(
    memory: Memory, instance, monkeypatch
):
    assert known_after(memory, instance)
    behind = datetime.now(timezone.utc) - timedelta(minutes=5)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: behind)
        assert not known_after(memory, instance)
        assert not known_after(memory, instance)
    memory.refresh(instance)
    assert known_after(memory, instance)


def test_everything_is_asked_again_by_and_by(memory: Memory, instance):
    names = [f"w{number}" for number in range(3 * LOOKS)]
    for name in names:
        memory.keep(name, 0)
    for look in range(1, LOOKS + 1):
        assert 0 in map(memory.recall, names)
        memory.refresh(instance)
        for name in names:
            if memory.recall(name) is None:
                memory.keep(name, look)
    assert 0 not in map(memory.recall, names)


def actions(shop: DagsterShop, dice: random.Random) -> list[Callable[[], object]]:
    """Return all that people, runs and automation may do next."""
    one = shop.shop

    def launch_one() -> None:
        for request in shop.ask()[:1]:
            shop.launch(request)

    def commit(name: str) -> Callable[[], object]:
        files = {f"{dice.random()}.txt": "", **({"broken": ""} if dice.random() < 0.3 else {})}
        return lambda: getattr(one, name).commit(files)

    def mend() -> None:
        if "broken" in one.dev.files():
            one.dev.commit({"broken": None})

    def deploy_older() -> None:
        released = [tag for tag in one.prod.tags() if "/prod/" in tag]
        shop.deploy(
            commits={"prod": git(one.prod.bare, "rev-parse", f"{dice.choice(released)}^{{}}")}
        )

    return [
        *(commit(name) for name in ("dev", "staging", "prod")),
        *(launch_one, launch_one, shop.settle, mend, deploy_older, shop.roll_back, shop.deploy),
        lambda: shop.materialize("staging"),
        lambda: shop.materialize("prod"),
        lambda: shop.run_workspace("staging"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_a_look_that_remembers_says_what_one_that_asks_says(
    settled: DagsterShop, seed: int
):
    dice = random.Random(seed)
    for _ in range(15):
        dice.choice(actions(settled, dice))()
        compare(settled)
        compare(settled)
