"""What looks remember: it spares the instance, and changes no answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from dataops_dagster import clock
from dataops_dagster.heads import look_up_all
from dataops_dagster.orchestration import records
from dataops_dagster.orchestration.memory import LOOKS, Memory
from dataops_dagster.orchestration.requests import Observer
from tests.conftest import Shop
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
    now = datetime.now(timezone.utc)
    heads = look_up_all(shop.shop.project)
    fresh = Observer(shop.shop.project, shop.instance, shop.shop.store, now).due(heads)
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
    for name in ("recorded_head", "deployed", "shown_gate", "evidence_of"):
        real = getattr(records, name)

        def counted(*given, _name=name, _real=real):
            asked.append(_name)
            return _real(*given)

        monkeypatch.setattr(records, name, counted)
    settled.tick("heads_shop")
    settled.tick("gates_shop")
    # Of three workspaces one is asked for again, as always one of fifty is.
    assert asked.count("recorded_head") == 1
    assert len(asked) <= 3
    for _ in range(2):
        settled.tick("gates_shop")
    assert {"deployed", "shown_gate", "evidence_of"} <= set(asked)  # in its turn, each


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


def test_another_instance_is_not_taken_for_the_one_that_is_remembered(settled: DagsterShop):
    memory = Memory(settled.shop.project)
    memory.refresh(settled.instance)
    memory.keep("prod", "known")
    memory.refresh(settled.instance)
    memory.keep("prod", "known")
    for _ in range(2):
        memory.refresh(settled.instance)
        memory.keep("dev", "one of fifty is forgotten")
    with dg.DagsterInstance.ephemeral() as other:
        memory.refresh(other)
        assert memory.recall("prod") is None
        assert memory.recall("dev") is None


def test_nothing_is_remembered_while_a_clock_is_behind_what_runs_said(
    settled: DagsterShop, monkeypatch
):
    memory = Memory(settled.shop.project)
    for minutes, kept in ((0, "known"), (-5, None), (0, "known")):
        now = datetime.now(timezone.utc) + timedelta(minutes=minutes)
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        for _ in range(3):
            memory.refresh(settled.instance)
        memory.keep("dev", "one of fifty is forgotten")
        memory.keep("prod", "known")
        memory.refresh(settled.instance)
        assert memory.recall("prod") == kept


def test_everything_is_asked_again_by_and_by(settled: DagsterShop):
    memory = Memory(settled.shop.project)
    memory.refresh(settled.instance)
    memory.refresh(settled.instance)
    names = [f"w{number}" for number in range(3 * LOOKS)]
    for name in names:
        memory.keep(name, 0)
    for look in range(1, LOOKS + 1):
        assert 0 in map(memory.recall, names)
        memory.refresh(settled.instance)
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
