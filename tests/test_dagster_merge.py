"""The check `merge` in Dagster: what would be merged into a target, whatever its gate says."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.conftest import Shop
from tests.dagster_shop import DagsterShop


@pytest.fixture
def in_production(promoted_shop: Shop) -> Iterator[DagsterShop]:
    """The first commit of dev is in production."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(promoted_shop, instance)


def recorded(shop: DagsterShop, workspace: str) -> list[dg.AssetCheckEvaluation]:
    """Tick the sensor of gates; returns what it says of a workspace's merge."""
    return [
        event
        for event in shop.tick("gates_shop").asset_events or []
        if isinstance(event, dg.AssetCheckEvaluation)
        and (event.asset_key.path[-1], event.check_name) == (workspace, "merge")
    ]


def test_what_nobody_has_proven_yet_is_merged_to_look_at_it_and_stays_here(
    in_production: DagsterShop,
):
    shop = in_production.shop
    shop.staging.commit({"pipeline.yml": "source: orders\n"})
    head = shop.prod.head
    found = in_production.look("prod", "merge")
    assert found.passed
    assert found.description == "1 commit(s), 1 file(s) change, 0 overwritten; same tree"
    assert found.metadata["dataops/upstream_commit"].value == shop.staging.head
    assert shop.prod.head == head
    assert recorded(in_production, "prod") == []  # the gate has let nobody merge


def test_a_conflict_fails_and_names_its_paths(in_production: DagsterShop):
    shop = in_production.shop
    shop.staging.commit({"deploy.sh": None})
    shop.dev.commit({"deploy.sh": "exit 0\n"})
    found = in_production.look("staging", "merge")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "cannot be settled for 1 path(s): deploy.sh" in found.description
    assert "deploy.sh" in found.metadata["dataops/conflicts"].md_str


def test_a_target_that_has_all_of_its_upstream_passes(in_production: DagsterShop):
    found = in_production.look("prod", "merge")
    assert (found.passed, found.description) == (True, "nothing to promote")


def test_the_sensor_records_what_a_gate_let_be_merged(in_production: DagsterShop):
    in_production.shop.staging.commit({"pipeline.yml": "source: orders\n"})
    in_production.run_workspace("staging")
    (found,) = recorded(in_production, "prod")
    assert found.passed
    assert found.description.startswith("1 commit(s), 1 file(s) change")
