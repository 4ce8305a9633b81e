"""What users hang on a project's assets: their automation follows heads, and staleness is true."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster.demo import daemon
from tests.conftest import Shop
from tests.dagster_shop import DagsterShop
from tests.telling import unused_port, wait_for

PROD = dg.AssetKey(["shop", "prod"])
DEPLOYMENT = dg.AssetKey(["shop", "prod", "deployment"])


@dg.asset(deps=[PROD], automation_condition=dg.AutomationCondition.eager())
def follows_head() -> None: ...


@dg.asset(deps=[DEPLOYMENT], automation_condition=dg.AutomationCondition.eager())
def follows_deployment() -> None: ...


FOLLOWERS = dg.Definitions(assets=[follows_head, follows_deployment])


@pytest.fixture
def dagster_shop(shop: Shop) -> Iterator[DagsterShop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(shop, instance)


@pytest.fixture
def requested(dagster_shop: DagsterShop) -> Callable[[], set[str]]:
    """Return what looks as Dagster's automation does: who is asked for, who then is materialized."""
    defs = dg.Definitions.merge(dagster_shop.defs, FOLLOWERS)
    cursor = None

    def asked() -> set[dg.AssetKey]:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(defs, dagster_shop.instance, cursor=cursor)
        cursor = found.cursor
        keys = (follows_head.key, follows_deployment.key)
        return {key for key in keys if found.get_num_requested(key)}

    def look() -> set[str]:
        for key in (first := asked()):
            dagster_shop.instance.report_runless_asset_event(dg.AssetMaterialization(key))
        assert not asked()  # once is enough
        return {key.to_user_string() for key in first}

    return look


@pytest.mark.slow
def test_an_automation_condition_follows_productions_head_and_what_is_served(
    dagster_shop: DagsterShop, requested
):
    assert requested() == set()  # nothing is there to follow
    dagster_shop.settle()
    assert requested() == {"follows_head", "follows_deployment"}
    dagster_shop.tick("heads_shop")
    assert requested() == set()

    dagster_shop.shop.dev.commit({"new.txt": ""})
    dagster_shop.settle()
    assert requested() == {"follows_head", "follows_deployment"}

    dagster_shop.shop.prod.commit({"by-hand.txt": ""})
    assert requested() == set()  # nobody looked yet
    dagster_shop.tick("heads_shop")
    assert requested() == {"follows_head"}  # what somebody pushed is not deployed by itself

    assert dagster_shop.roll_back().success
    assert requested() == {"follows_head"}


@pytest.mark.slow
def test_an_automation_condition_asks_for_nothing_when_nothing_moved(
    dagster_shop: DagsterShop, requested
):
    dagster_shop.settle()
    requested()
    dagster_shop.tick("heads_shop")
    dagster_shop.tick("gates_shop")
    assert dagster_shop.materialize("prod").success
    assert dagster_shop.deploy().success
    dagster_shop.shop.dev.commit({"new.txt": ""})
    assert dagster_shop.materialize("staging").success
    assert not dagster_shop.materialize("prod").success  # its gate is closed
    dagster_shop.tick("heads_shop")
    assert requested() == set()


# --- staleness, as Dagster's own webserver says it ----------------------------------------------

QUERY = "{ assetNodes { assetKey { path } staleStatus } }"


@pytest.fixture
def served(shop: Shop, tmp_path: Path, monkeypatch) -> Iterator[tuple[DagsterShop, Callable]]:
    """Return the shop, and what asks Dagster's webserver which assets are out of date."""
    home, port = tmp_path / "dagster", unused_port()
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    env = {"DAGSTER_HOME": str(home), "DATAOPS_CONFIG": str(shop.root / "dataops.yaml")}
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    command = (daemon.program("dagster-webserver"), "-m", daemon.DEFINITIONS, "-p", str(port))

    def ask() -> list[dict]:
        url, told = f"http://127.0.0.1:{port}/graphql", json.dumps({"query": QUERY}).encode()
        request = urllib.request.Request(url, told, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]["assetNodes"]

    def is_up() -> bool:
        try:
            return bool(ask())
        except OSError:
            return False

    def stale() -> set[str]:
        found = {"/".join(node["assetKey"]["path"]): node["staleStatus"] for node in ask()}
        assert "MISSING" not in {found["shop/prod"], found["shop/prod/deployment"]}
        return {key for key, status in found.items() if status == "STALE"}

    with ExitStack() as stack:
        stack.enter_context(daemon.running(*command, env=env, log=home / "webserver.log"))
        instance = stack.enter_context(dg.DagsterInstance.get())
        wait_for("Dagster's webserver", is_up)
        dagster_shop = DagsterShop(shop, instance)
        dagster_shop.settle()
        dagster_shop.tick("heads_shop")
        yield dagster_shop, stale


@pytest.mark.slow
def test_an_asset_is_stale_if_and_only_if_its_upstream_has_something_that_is_not_there(served):
    dagster_shop, stale = served
    shop = dagster_shop.shop

    def looked() -> set[str]:
        dagster_shop.tick("heads_shop")
        return stale()

    assert stale() == set()
    shop.dev.commit({"one.txt": ""})
    assert looked() == {"shop/staging"}
    dagster_shop.materialize("staging")
    assert looked() == {"shop/prod"}  # its gate is closed: staging was not run
    dagster_shop.settle()
    assert looked() == set()

    shop.staging.commit({"by-hand.txt": ""})
    assert looked() == {"shop/prod"}  # dev has nothing that staging has not
    shop.dev.commit({"two.txt": ""})
    assert looked() == {"shop/staging", "shop/prod"}
    shop.staging.merge(shop.dev)  # by hand, as the guides say
    assert looked() == {"shop/prod"}
    dagster_shop.settle()
    assert looked() == set()

    served = shop.prod.head
    shop.prod.commit({"by-hand-too.txt": ""})
    assert looked() == {"shop/prod/deployment"}
    assert dagster_shop.deploy().success
    assert dagster_shop.materialize("prod").success  # nothing is to do
    assert looked() == set()
    assert dagster_shop.deploy(commits={"prod": served}).success
    assert looked() == {"shop/prod/deployment"}

    assert dagster_shop.roll_back().success
    assert looked() == {"shop/prod", "shop/prod/deployment"}
    assert dagster_shop.deploy().success
    assert looked() == {"shop/prod"}
