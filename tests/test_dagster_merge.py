"""The check `merge` in Dagster: what would be merged into a target, whatever its gate says."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from dataops_dagster.orchestration import naming, records
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


@pytest.mark.slow
def test_a_conflict_without_a_gate_is_recorded_once_and_again_when_it_is_settled(
    in_production: DagsterShop,
):
    shop = in_production.shop
    assert [each.passed for each in recorded(in_production, "staging")] == [True]
    shop.staging.commit({"deploy.sh": None})
    shop.dev.commit({"deploy.sh": "exit 0\n"})
    (found,) = recorded(in_production, "staging")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "deploy.sh" in found.metadata["dataops/conflicts"].md_str
    assert [recorded(in_production, "staging") for _ in range(3)] == [[], [], []]
    assert not in_production.look("staging", "merge").passed  # it says the same
    assert recorded(in_production, "staging") == []
    shop.dev.commit({"deploy.sh": None})
    (found,) = recorded(in_production, "staging")
    assert found.passed
    in_production.settle()
    assert recorded(in_production, "staging") == []
    now = in_production.look("staging", "merge")
    assert (now.passed, now.description) == (True, "nothing to promote")


def test_a_look_that_a_person_began_and_that_never_ended_hides_nothing(in_production: DagsterShop):
    (before,) = recorded(in_production, "staging")
    job = in_production.defs.resolve_job_def(naming.ALL_ASSETS_JOB).get_subset(
        asset_selection=set(), asset_check_selection={before.asset_check_key}
    )
    in_production.instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE)
    assert records.shown_checks(in_production.instance, [before.asset_check_key]) == {}
    assert recorded(in_production, "staging") == [before]
    assert recorded(in_production, "staging") == []


def test_what_all_targets_merges_said_is_asked_once_a_look(in_production: DagsterShop, monkeypatch):
    asked = []
    storage = type(in_production.instance.event_log_storage)
    real = storage.get_latest_asset_check_execution_by_key
    name = "get_latest_asset_check_execution_by_key"
    monkeypatch.setattr(
        storage, name, lambda self, keys, *more: asked.append(keys) or real(self, keys, *more)
    )
    in_production.shop.staging.commit({"pipeline.yml": "source: orders\n"})
    in_production.run_workspace("staging")
    asked.clear()
    in_production.tick("gates_shop")
    assert len(asked) == 1
