"""What a run of Meltano told of itself, as Dagster shows it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster import build_dataops_definitions, clock, locks
from dataops_dagster.orchestration.asking import ATTEMPTS, PAUSE
from tests.conftest import SHOP, Shop, fill, make_shop
from tests.dagster_shop import DagsterShop
from tests.repositories import Workspace, git
from tests.test_meltano_log import LOAD, ended, entry, metric, said

pytestmark = pytest.mark.slow

STEP = """
    run:
      platform: meltano
      run: [load]
      executable: ./meltano
      streams: {tap-a: [users]}
"""
PIPELINE = """
plugins:
  extractors: [{name: tap, namespace: tap, executable: ./tap}]
  loaders: [{name: target, namespace: target, executable: ./target}]
jobs: [{name: load, tasks: [tap target]}]
"""
RUN = "\n    run: {platform: command, command: [sh, run.sh], deadline: 1m}\n"


def add_program(workspace: Workspace, name: str, text: str) -> None:
    workspace.commit({name: text})
    git(workspace.clone, "update-index", "--chmod=+x", name)
    git(workspace.clone, "commit", "--quiet", "-m", "Let it be executed")
    git(workspace.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")


@pytest.fixture
def meltano_shop(tmp_path) -> Iterator[DagsterShop]:
    """Staging runs Meltano; the program in the repository says what a test has it say."""
    assert RUN in SHOP
    shop = fill(make_shop(tmp_path, SHOP.replace(RUN, STEP)))
    add_program(shop.staging, "meltano", "#!/bin/sh\ncat log >&2\nexit $(cat code)\n")
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(shop, instance)


def run(meltano_shop: DagsterShop, code: int, *lines: str) -> dg.AssetCheckEvaluation:
    """Run staging; its Meltano writes a log and ends."""
    log = "".join(f"{line}\n" for line in lines)
    meltano_shop.shop.staging.commit({"log": log, "code": f"{code}"})
    done = meltano_shop.run_workspace("staging")
    (found,) = done.get_asset_check_evaluations()
    return found


def stream(meltano_shop: DagsterShop, *path: str) -> dg.AssetMaterialization | None:
    return meltano_shop.latest("shop", "staging", *path)


def test_rows_and_seconds_are_numbers_to_plot(meltano_shop: DagsterShop):
    found = run(meltano_shop, 0, said(metric("users", 3)), said(metric("orders", 4)))
    assert found.passed
    assert found.metadata["dataops/rows"].value == 7
    assert found.metadata["dataops/seconds"].value > 0
    assert "| tap-a | users | 3 |" in found.metadata["dataops/streams"].value


def test_streams_that_a_run_moved_are_materialized(meltano_shop: DagsterShop):
    run(meltano_shop, 0, said(metric("users", 3)), said(metric("orders", 4)))
    made = stream(meltano_shop, "tap-a", "users")
    assert made
    assert made.metadata["dagster/row_count"].value == 3
    assert made.metadata["dataops/commit"].value == meltano_shop.shop.staging.head
    assert stream(meltano_shop, "tap-a", "orders")


def test_a_run_that_failed_names_the_plug_in_and_materializes_nothing(meltano_shop: DagsterShop):
    found = run(meltano_shop, 1, said(metric("users", 3)), ended(0, [{"tap-a": 7}]))
    assert not found.passed
    assert found.metadata["dataops/failed_plugin"].value == "tap-a"
    assert found.metadata["dataops/exit_code"].value == 7
    assert found.description.startswith("tap-a ended with exit code 7; meltano ended with")
    assert stream(meltano_shop, "tap-a", "users") is None


def test_only_the_exit_code_decides_whatever_the_log_says(meltano_shop: DagsterShop):
    success = entry("Run completed", status="success")
    assert not run(meltano_shop, 1, success, said(metric("users", 3))).passed
    found = run(meltano_shop, 0, ended(0, [{"tap-a": 7}]), entry("Run completed", status="failure"))
    assert found.passed
    assert "dataops/failed_plugin" not in found.metadata


def test_a_hostile_log_harms_nothing(meltano_shop: DagsterShop):
    shown = said(metric("<img src=x>|`x`", 3))
    found = run(meltano_shop, 0, "[" * 9_999, "\0" * 99, "x" * 30_000, '{"event": 5}', shown)
    assert found.passed
    assert "<img" not in found.metadata["dataops/streams"].value
    assert found.metadata["dataops/rows"].value == 3


def test_what_a_run_without_counts_moved_is_not_made_up(meltano_shop: DagsterShop):
    found = run(meltano_shop, 0, entry("fine"))
    assert not {"dataops/rows", "dataops/streams", "dataops/exit_code"} & set(found.metadata)


def test_streams_that_are_declared_are_in_the_lineage_of_their_workspace(meltano_shop: DagsterShop):
    graph = meltano_shop.defs.resolve_asset_graph()
    node = graph.get(dg.AssetKey(["shop", "staging", "tap-a", "users"]))
    assert node.parent_keys == {dg.AssetKey(["shop", "staging"])}
    assert node.group_name == "shop"
    assert not node.is_materializable


def test_to_declare_streams_changes_nothing_of_what_ran(meltano_shop: DagsterShop):
    def digest() -> str:
        return run(meltano_shop, 0).metadata["dataops/digest"].value

    before, path = digest(), meltano_shop.shop.root / "dataops.yaml"
    head = meltano_shop.shop.staging.head
    path.write_text(path.read_text().replace("[users]", "[users, orders]"))
    meltano_shop.__dict__.pop("defs")
    assert "orders" in str(
        build_dataops_definitions(path).resolve_asset_graph().get_all_asset_keys()
    )
    done = meltano_shop.run_workspace("staging", commits={"staging": head})
    (found,) = done.get_asset_check_evaluations()
    assert found.metadata["dataops/digest"].value == before


def test_the_pipelines_of_a_log_are_those_of_this_file():
    assert json.loads(said("x"))["job_name"] == LOAD.state_id


def test_a_deployment_by_meltano_tells_the_same(tmp_path):
    text = SHOP.replace(
        "command, command: [sh, deploy.sh]", "meltano, run: [load], executable: ./m"
    )
    shop: Shop = fill(make_shop(tmp_path, text))
    add_program(shop.dev, "m", f"#!/bin/sh\ncat <<'E'\n{said(metric('users', 3))}\nE\n")
    with dg.DagsterInstance.ephemeral() as instance:
        dagster = DagsterShop(shop, instance)
        dagster.settle()
        made = dagster.latest("shop", "prod", "deployment")
        assert made
        assert made.metadata["dataops/rows"].value == 3
        assert dagster.latest("shop", "prod", "tap-a", "users")


# --- refusals ---------------------------------------------------------------------------------


@contextlib.contextmanager
def at_work_on(state: Path) -> Iterator[None]:
    """Hold the states that runs of a workspace left, as one that Dagster does not know of does."""
    with locks.held((state / "locks").iterdir(), "5b6f0c8e") as lock:
        assert isinstance(lock, locks.Locked)
        yield


def is_asked_for_once_a_minute(dagster: DagsterShop, monkeypatch) -> None:
    """Look more often than there are attempts, while each run is refused."""
    now = clock.now
    for _ in range(ATTEMPTS + 1):
        monkeypatch.setattr(clock, "now", lambda: now() + PAUSE)
        (request,) = dagster.ask()
        refused = dagster.launch(request)
        assert "Dagster run 5b6f0c8e is at work on" in str(refused.all_events)
        monkeypatch.setattr(clock, "now", now)
        assert f"was refused, run {refused.run_id}" in dagster.why()
    monkeypatch.setattr(clock, "now", lambda: now() + PAUSE + timedelta(seconds=1))


def test_a_run_that_is_refused_is_no_attempt_and_is_asked_for_until_the_state_is_free(
    meltano_shop: DagsterShop, tmp_path, monkeypatch
):
    staging = meltano_shop.shop.staging
    staging.commit({"meltano.yml": PIPELINE, "log": "", "code": "0"})
    meltano_shop.settle()
    staging.commit({"log": "more"})
    with at_work_on(tmp_path / "state" / "shop" / "staging"):
        is_asked_for_once_a_minute(meltano_shop, monkeypatch)
    meltano_shop.settle()
    assert f"its run at {staging.head[:12]} passed" in meltano_shop.reasons()


def test_what_runs_a_refused_run_again_is_an_attempt(meltano_shop: DagsterShop, tmp_path):
    staging = meltano_shop.shop.staging
    staging.commit({"meltano.yml": PIPELINE, "log": "", "code": "0"})
    meltano_shop.settle()
    staging.commit({"code": "75"})
    with at_work_on(tmp_path / "state" / "shop" / "staging"):
        (request,) = meltano_shop.ask()
        refused = meltano_shop.launch(request).dagster_run
    copied = request._replace(tags=meltano_shop.instance.get_run_by_id(refused.run_id).tags)
    for _ in range(ATTEMPTS):
        meltano_shop.launch(copied)
    assert f"did not succeed in {ATTEMPTS} runs" in meltano_shop.why()


def test_a_deployment_that_is_refused_is_no_attempt_either(tmp_path, monkeypatch):
    text = SHOP.replace(
        "command, command: [sh, deploy.sh]", "meltano, run: [load], executable: ./m"
    )
    shop: Shop = fill(make_shop(tmp_path, text))
    shop.dev.commit({"meltano.yml": PIPELINE})
    add_program(shop.dev, "m", "#!/bin/sh\n")
    with dg.DagsterInstance.ephemeral() as instance:
        dagster = DagsterShop(shop, instance)
        dagster.settle()
        with at_work_on(tmp_path / "state" / "shop" / "prod"):
            shop.dev.commit({"more": ""})
            dagster.settle()
            is_asked_for_once_a_minute(dagster, monkeypatch)
        dagster.settle()
        assert f"prod: serves its head {shop.prod.head[:12]}" in dagster.reasons()
