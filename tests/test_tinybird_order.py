"""Who shares data sources is deployed before those who read them: by the sensor, and in one run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster import clock, config
from dataops_dagster.errors import ConfigError
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.asking import PATIENCE, PAUSE
from dataops_dagster.tinybird.deploying import Deployed
from tests.conftest import make_shop
from tests.dagster_shop import DagsterShop
from tests.tinybird_site import Site, forward_site, stand_in

__all__ = ["forward_site", "stand_in"]

# The reader is named first, so that nothing is right by chance.
PROJECT = """\
project: shop
protocols: [file]
workspaces:
  app:
    repository: dev.git
    environment: staging
    deploy: {deploy}
    tinybird:
      {{host: "{host}", workspace: app_acme, token_variable: TB_APP_TOKEN, production: false,
       executable: "{tb}", uses: [{{datasource: rides, workspace: core_acme}}]}}
"""
ORIGIN = """\
  core:
    repository: staging.git
    environment: staging
    deploy: {deploy}
    tinybird:
      {{host: "{host}", workspace: core_acme, token_variable: TB_CORE_TOKEN, production: false,
       executable: "{tb}"}}
"""
NOWHERE = {"host": "https://api.example.com", "tb": "tb"}
COMMAND = "{platform: command, command: [sh, deploy.sh]}"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def ordered(tmp_path: Path, instance) -> DagsterShop:
    """A reader and its origin, which commands deploy: what orders them is not tb."""
    shop = make_shop(tmp_path, (PROJECT + ORIGIN).format(deploy=COMMAND, **NOWHERE))
    return DagsterShop(shop, instance)


def asked(dagster: DagsterShop) -> list[str]:
    return [key.split()[1] for key in dagster.settle()]


def test_by_the_clock_a_reader_waits_for_its_origin_too(tmp_path: Path):
    by_the_clock = f"{COMMAND[:-1]}, when: '0 6 * * *'}}"
    text = PROJECT.format(deploy=by_the_clock, **NOWHERE) + ORIGIN.format(deploy=COMMAND, **NOWHERE)
    shop = make_shop(tmp_path, text)
    shop.dev.commit({"deploy.sh": "exit 0\n"})
    shop.staging.commit({"deploy.sh": "exit 0\n"})
    # A schedule wants an instance that other processes could reach.
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        schedule = DagsterShop(shop, instance).defs.get_schedule_def("deploy_shop__app")
        with dg.build_schedule_context(instance=instance) as context:
            assert "is deployed after core" in schedule.evaluate_tick(context).skip_message


def test_a_reader_is_deployed_after_its_origin(ordered: DagsterShop):
    ordered.shop.dev.commit({"deploy.sh": "exit 0\n"})
    ordered.shop.staging.commit({"deploy.sh": "exit 0\n"})
    assert [request.run_key.split()[1] for request in ordered.ask()] == ["core"]
    ordered.seen_keys.clear()
    assert asked(ordered) == ["core", "app"]
    ordered.shop.dev.commit({"more": ""})
    ordered.shop.staging.commit({"more": ""})
    assert asked(ordered) == ["core", "app"]
    ordered.shop.dev.commit({"more": "still"})
    assert asked(ordered) == ["app"]


def test_a_reader_says_which_origin_it_waits_for_as_long_as_that_one_cannot_be_deployed(
    ordered: DagsterShop,
):
    ordered.shop.dev.commit({"deploy.sh": "exit 0\n"})
    assert "app: is deployed after core, which has no branch yet" in ordered.why()
    bad = ordered.shop.staging.commit({"deploy.sh": "exit 1\n"})
    assert asked(ordered) == ["core"]
    told = f"app: is deployed after core, which does not serve its head {bad[:12]} yet"
    assert told in ordered.why()
    ordered.shop.staging.commit({"deploy.sh": "exit 0\n"})
    assert asked(ordered) == ["core", "app"]


@pytest.mark.slow
def test_what_a_rollback_brought_back_waits_for_no_origin(tmp_path: Path, instance):
    text = READER.replace("app:", "prod:").format(deploy=COMMAND, **NOWHERE)
    text += ORIGIN.format(deploy=COMMAND, **NOWHERE)
    dagster = DagsterShop(make_shop(tmp_path, text), instance)
    shop = dagster.shop
    shop.prod.commit({"README.md": ""}, "Initial commit")
    shop.staging.commit({"deploy.sh": "exit 0\n"})
    for content in ("exit 0\n", "exit 0  # more\n"):
        shop.dev.commit({"deploy.sh": content})
        dagster.settle()
    shop.staging.commit({"deploy.sh": "exit 1\n"})
    assert asked(dagster) == ["core"]
    assert dagster.roll_back().success
    assert asked(dagster) == ["prod"]
    assert dagster.data_version("shop", "prod", "deployment") == shop.prod.head


def test_one_run_deploys_the_origin_first(ordered: DagsterShop):
    for workspace in (ordered.shop.dev, ordered.shop.staging):
        workspace.commit({"deploy.sh": "exit 0\n"})
    keys = [dg.AssetKey(["shop", name, "deployment"]) for name in ("app", "core")]
    done = ordered.launch(dg.RunRequest(job_name="deploy_shop", asset_selection=keys))
    assert done.success
    made = [event.asset_key.path[1] for event in done.get_asset_materialization_events()]
    assert made == ["core", "app"]
    told = ordered.defs.resolve_asset_graph().get(keys[0]).description
    assert told == "What app serves in environment staging. Deployed after core."


@pytest.mark.parametrize(
    ("token", "more"),
    [
        ("TB_CORE_TOKEN", "uses: [{datasource: trips, workspace: app_acme}]"),
        ("TB_APP_TOKEN", "shares: [{datasource: trips, workspace: core_acme}]"),
        ("TB_CORE_TOKEN", "uses: [{datasource: trips, workspace: core_acme}]"),
    ],
)
def test_data_sources_that_go_round_in_a_circle_are_one_mistake(tmp_path, token, more):
    text = (PROJECT + ORIGIN).format(deploy=COMMAND, **NOWHERE)
    text = text.replace(f"{token},", f"{token}, {more},")
    (tmp_path / "dataops.yaml").write_text(text)
    with pytest.raises(ConfigError) as told:
        config.load(tmp_path / "dataops.yaml")
    (problem,) = told.value.problems
    assert "is deployed after itself: data sources are shared from" in problem.problem


def test_a_run_that_is_refused_again_and_again_is_asked_for_less_often(ordered: DagsterShop):
    ordered.shop.staging.commit({"deploy.sh": "exit 0\n"})
    (request,) = ordered.ask()
    job = ordered.defs.resolve_job_def(request.job_name)
    for number in range(PATIENCE + 4):
        assert number != PATIENCE or "again a minute later" in ordered.why()
        run = ordered.instance.create_run_for_job(
            job, tags=request.tags, status=dg.DagsterRunStatus.FAILURE
        )
        ordered.instance.add_run_tags(run.run_id, {naming.REFUSED_TAG: run.run_id})
    assert "it is asked for again 5 minutes later" in ordered.why()


# --- an origin of another project ---------------------------------------------------------------

READER = """\
project: shop
protocols: [file]
workspaces:
  dev: {{repository: dev.git, environment: dev}}
  app:
    repository: prod.git
    environment: prod
    upstream: dev
    promote: change
    auto_rollback: true
    gate: {{runs: 0}}
    deploy: {deploy}
    tinybird:
      {{host: "{host}", workspace: app_acme, token_variable: TB_APP_TOKEN, production: false,
       executable: "{tb}", uses: [{{datasource: rides, workspace: core_acme}}]}}
"""
PIPE = """\
NODE all
SQL >
    SELECT ride_id FROM core_acme.rides

TYPE endpoint
"""


@pytest.mark.slow
def test_a_reader_of_what_is_not_shared_yet_is_asked_for_again_and_never_rolled_back(
    tmp_path: Path, forward_site: Site, instance, monkeypatch
):
    stand_in = forward_site.stand_in
    step = "{platform: tinybird, deadline: 2m}"
    text = READER.format(deploy=step, host=stand_in.url, tb=forward_site.executable)
    dagster = DagsterShop(make_shop(tmp_path, text), instance)
    app, core = (stand_in.create_workspace(name) for name in ("app_acme", "core_acme"))
    monkeypatch.setenv("TB_APP_TOKEN", app.token)
    monkeypatch.setenv("TB_CORE_TOKEN", core.token)
    dagster.shop.prod.commit({"README.md": ""}, "Initial commit")
    dagster.shop.dev.commit({"endpoints/all_rides.pipe": PIPE})
    assert [key.split()[0] for key in dagster.settle()] == ["promote", "deploy"]
    assert "another is at work on the same, or comes first" in dagster.why()
    assert "app: has nothing to roll back" in dagster.reasons()
    (run,) = instance.get_runs(dg.RunsFilter(job_name="deploy_shop"))
    assert "core_acme.rides: not shared with app_acme yet" in str(instance.all_logs(run.run_id))

    origin = Site(stand_in, core, forward_site.executable, forward_site.dialect)
    assert isinstance(origin.deploy(shared_with_app, token_variable="TB_CORE_TOKEN"), Deployed)
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + PAUSE)
    assert [key.split()[0] for key in dagster.settle()] == ["deploy"]
    assert set(app.resources) == {"all_rides"}


def shared_with_app(folder: Path) -> None:
    path = folder / "datasources" / "rides.datasource"
    path.write_text(f"SHARED_WITH >\n    app_acme\n\n{path.read_text()}")
