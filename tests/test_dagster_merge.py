"""The check `merge` in Dagster: what would be merged into a target, whatever its gate says."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from dataops_dagster.orchestration import naming
from tests.conftest import Shop
from tests.dagster_shop import DagsterShop


@pytest.fixture
def in_production(promoted_shop: Shop) -> Iterator[DagsterShop]:
    """The first commit of dev is in production."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(promoted_shop, instance)


def look(shop: DagsterShop, workspace: str) -> dg.AssetCheckEvaluation:
    """Press Execute on a workspace's check."""
    check = dg.AssetCheckKey(dg.AssetKey(["shop", workspace]), "merge")
    job = naming.ALL_ASSETS_JOB
    done = shop.launch(dg.RunRequest(job_name=job, asset_selection=[], asset_check_keys=[check]))
    assert done.success
    (found,) = done.get_asset_check_evaluations()
    return found


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
    found = look(in_production, "prod")
    assert found.passed
    assert found.description == "1 commit(s), 1 file(s) change, 0 overwritten; same tree"
    assert found.metadata["dataops/upstream_commit"].value == shop.staging.head
    assert shop.prod.head == head
    assert recorded(in_production, "prod") == []  # the gate has let nobody merge


def test_a_conflict_fails_and_names_its_paths(in_production: DagsterShop):
    shop = in_production.shop
    shop.staging.commit({"deploy.sh": None})
    shop.dev.commit({"deploy.sh": "exit 0\n"})
    found = look(in_production, "staging")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "cannot be settled for 1 path(s): deploy.sh" in found.description
    assert "deploy.sh" in found.metadata["dataops/conflicts"].md_str


def test_a_target_that_has_all_of_its_upstream_passes(in_production: DagsterShop):
    found = look(in_production, "prod")
    assert (found.passed, found.description) == (True, "nothing to promote")


def test_the_sensor_records_what_a_gate_let_be_merged(in_production: DagsterShop):
    in_production.shop.staging.commit({"pipeline.yml": "source: orders\n"})
    in_production.run_workspace("staging")
    (found,) = recorded(in_production, "prod")
    assert found.passed
    assert found.description.startswith("1 commit(s), 1 file(s) change")
