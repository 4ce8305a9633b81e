"""From a push to a served workspace at Tinybird: real git, real Dagster, the real `tb`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dataops_dagster.cli import main
from dataops_dagster.testing.tinybird import Dialect, StandIn, Workspace
from dataops_dagster.tinybird import forward
from tests.conftest import Shop, make_shop
from tests.dagster_shop import DagsterShop
from tests.tinybird import make_project, tb_command
from tests.tinybird_site import stand_in

pytestmark = pytest.mark.slow
__all__ = ["stand_in"]

TINYBIRD_SHOP = """\
project: shop
protocols: [file]
workspaces:
  dev:
    repository: dev.git
    environment: dev
  staging:
    repository: staging.git
    environment: staging
    upstream: dev
    promote: change
    tinybird:
      host: {host}
      workspace: staging_acme
      token_variable: TB_STAGING_TOKEN
      executable: {tb}
      production: false
      fixtures: when_empty
      destructive: allowed
    deploy: {{platform: tinybird, deadline: 2m}}
    run: {{platform: tinybird, local: "{host}", deadline: 2m}}
  prod:
    repository: prod.git
    environment: prod
    upstream: staging
    promote: change
    auto_rollback: true
    gate: {{environment: staging}}
    tinybird:
      host: {host}
      workspace: pro_acme
      token_variable: TB_PROD_TOKEN
      executable: {tb}
      destructive: approve
    deploy: {{platform: tinybird, deadline: 2m}}
"""


@dataclass
class World:
    """The shop, its Dagster instance, and its two workspaces at Tinybird."""

    shop: Shop
    dagster: DagsterShop
    stand_in: StandIn
    staging: Workspace
    prod: Workspace

    def command(self, *words: str) -> Result:
        return CliRunner().invoke(main, list(words))

    def said(self, key: str) -> list[str]:
        """Return what a key of metadata said in the events of all runs, the newest first."""
        found = []
        for run in self.dagster.instance.get_runs():
            for entry in self.dagster.instance.all_logs(run.run_id):
                event = entry.asset_materialization or entry.asset_observation
                told = entry.dagster_event and entry.dagster_event.event_specific_data
                event = told if isinstance(told, dg.AssetCheckEvaluation) else event
                if event and key in event.metadata:
                    found.append(str(event.metadata[key].value))
        return found


@pytest.fixture
def world(stand_in: StandIn, tmp_path: Path, monkeypatch) -> Iterator[World]:
    tb = tb_command(Dialect.FORWARD)
    shop = make_shop(tmp_path, TINYBIRD_SHOP.format(host=stand_in.url, tb=tb))
    staging, prod = (stand_in.create_workspace(name) for name in ("staging_acme", "pro_acme"))
    monkeypatch.setenv("TB_STAGING_TOKEN", staging.token)
    monkeypatch.setenv("TB_PROD_TOKEN", prod.token)
    monkeypatch.setattr(forward, "POLL_SECONDS", 0.05)
    # The stand-in runs no SQL: what its endpoint answers is what the project's test expects.
    rows = [json.loads(line) for line in expected(tmp_path / "expected").splitlines()]
    stand_in.answer("busiest_stations", rows)
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    monkeypatch.setenv("COLUMNS", "300")
    with dg.DagsterInstance.get() as instance:
        yield World(shop, DagsterShop(shop, instance), stand_in, staging, prod)


def expected(folder: Path) -> str:
    import yaml

    (tests,) = (make_project(folder, Dialect.FORWARD) / "tests").glob("busiest_stations.yaml")
    return yaml.safe_load(tests.read_text())[0]["expected_result"]


def push(world: World, folder: Path, *, without: str = "") -> None:
    """Push the data project to dev, perhaps without one of its files."""
    if without:
        (folder / without).unlink()
        world.shop.dev.commit({without: None}, "Remove an endpoint")
        return
    files = {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    world.shop.dev.commit(files, "Write the project")


def test_a_push_reaches_production_and_what_deletes_waits_for_its_approval(world: World, tmp_path):
    folder = make_project(tmp_path / "project", Dialect.FORWARD)
    push(world, folder)
    world.dagster.settle()
    assert len(world.prod.resources) == len(world.staging.resources) == 8
    assert world.stand_in.count("staging_acme", "rides") > 0
    assert world.stand_in.count("pro_acme", "rides") == 0
    assert world.said("dataops/platform_workspace")[0].startswith("pro_acme at http://127.0.0.1")

    tested = f"staging_acme ({world.staging.id}) at {world.stand_in.url} (forward); tested in"
    assert any(s.startswith(tested) for s in world.said("dataops/platform_workspace"))

    push(world, folder, without="endpoints/long_rides.pipe")
    world.dagster.settle()
    assert "long_rides" not in world.staging.resources
    assert "long_rides" in world.prod.resources, "production changed without an approval"
    (digest,) = set(world.said("dataops/plan")) & set(world.said("dataops/deployment_plan"))
    assert f"waits for dataops approve prod --plan {digest}" in world.dagster.reasons()
    assert "rolled back" not in world.said("dataops/outcome")

    shown = world.command("tinybird", "plan", "prod")
    assert shown.exit_code == 0, shown.output
    assert digest in shown.output
    assert "destructive" in shown.output
    done = world.command("approve", "prod", "--plan", digest, "--by", "ada")
    assert done.exit_code == 0, done.output
    world.dagster.settle()
    assert "long_rides" not in world.prod.resources

    kept = [path for path in (tmp_path / "dagster").rglob("*") if path.is_file()]
    assert any(b"staging_acme" in path.read_bytes() for path in kept)
    for token in (world.staging.token, world.prod.token):
        assert not [path for path in kept if token.encode() in path.read_bytes()]


def each_workspace_is_shown_with_its_host_and_what_is_live(world: World) -> None:
    told = world.command("tinybird", "status", "--json")
    assert told.exit_code == 0, told.output
    rows = {row["workspace"]: row for row in json.loads(told.stdout)}
    assert rows["prod"]["name"] == "pro_acme"
    assert rows["prod"]["id"] == world.prod.id
    assert rows["prod"]["live"] == "deployment 1"
    assert rows["prod"]["problem"] == ""
    told = world.command("status")
    assert f"pro_acme at {world.stand_in.url} (forward)" in told.output


def test_the_plan_of_a_promotion_shows_the_deployment_and_does_not_depend_on_it(
    world: World, tmp_path, monkeypatch
):
    folder = make_project(tmp_path / "project", Dialect.FORWARD)
    push(world, folder)
    world.dagster.settle()
    each_workspace_is_shown_with_its_host_and_what_is_live(world)
    push(world, folder, without="endpoints/long_rides.pipe")
    shown = world.command("plan", "staging")
    assert shown.exit_code == 0, shown.output
    assert "deploying it to staging_acme at" in shown.output
    assert "long_rides" in shown.output.partition("deploying it")[2]
    told = world.command("tinybird", "status", "--drift", "--json")
    assert [row["problem"] for row in json.loads(told.stdout)] == ["", ""], told.output
    del world.prod.resources["rides_by_day"]
    told = world.command("tinybird", "status", "--drift")
    assert "deploying it again would create endpoint rides_by_day" in told.output
    monkeypatch.delenv("TB_STAGING_TOKEN")
    shown = world.command("plan", "staging")
    assert shown.exit_code == 0, shown.output
    assert "not asked" in shown.output
    assert "TB_STAGING_TOKEN is not set" in shown.output
    monkeypatch.setenv("TB_STAGING_TOKEN", world.staging.token)
    with world.stand_in.down():
        shown = world.command("plan", "staging")
        assert shown.exit_code == 0, shown.output
        assert "not asked" in shown.output
        told = world.command("tinybird", "status")
        assert told.exit_code == 3, told.output
    monkeypatch.setenv("TB_PROD_TOKEN", world.staging.token)
    for words in (("tinybird", "status"), ("check",)):
        told = world.command(*words)
        assert told.exit_code == 2, told.output
        assert "belongs to workspace staging_acme, not to pro_acme" in told.output
