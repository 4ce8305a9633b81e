"""What `dataops check` says of Dagster's instance."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from dataops_dagster import clock
from dataops_dagster.cli import main
from dataops_dagster.orchestration.readiness import Facts, Finding, judge, look
from dataops_dagster.settings_steps import TinybirdStep
from dataops_dagster.settings_tinybird import Tinybird
from tests.conftest import Shop

pytestmark = pytest.mark.slow

DEMO = Path(__file__).parent.parent / "dataops_dagster" / "demo" / "dagster.yaml"

READY = Facts(
    storage="Postgres",
    launcher="",
    logs="LocalComputeLogManager",
    state="",
    elsewhere=(),
    is_queued=True,
    most_runs=10,
    default_limit=1,
    granularity="run",
    pools={"dataops__shop__staging": 1, "dataops__shop__prod": 1},
    is_monitored=True,
    max_runtime=14400,
    retries=0,
    daemons={"SENSOR": True, "SCHEDULER": True},
    sensors={"heads_shop": True, "gates_shop": True},
)


def findings(shop: Shop, **differing: object) -> dict[str, Finding]:
    facts = dataclasses.replace(READY, **differing)
    return {finding.what: finding for finding in judge(facts, [shop.project])}


def to_do(shop: Shop, **differing: object) -> dict[str, str]:
    found = findings(shop, **differing)
    return {what: finding.mend for what, finding in found.items() if finding.mend}


def test_nothing_is_to_do_for_an_instance_that_is_ready(empty_shop):
    assert to_do(empty_shop) == {}


@pytest.mark.parametrize(
    ("differing", "what", "mend"),
    [
        ({"is_queued": False}, "queue", "remove run_coordinator"),
        ({"pools": {}, "default_limit": None}, "pools", "concurrency.pools.default_limit: 1"),
        ({"pools": {}, "default_limit": 2}, "pools", "concurrency.pools.default_limit: 1"),
        ({"pools": {"dataops__shop__prod": 3}}, "pools", "dagster instance concurrency set"),
        ({"is_monitored": False}, "run monitoring", "run_monitoring.enabled: true"),
        ({"max_runtime": 0}, "run monitoring", "run_monitoring.max_runtime_seconds"),
        ({"retries": 2}, "run retries", "run_retries.max_retries: 0"),
        ({"daemons": {"SENSOR": False}}, "daemon", "dagster-daemon run"),
        ({"sensors": {}}, "sensors of shop", "automation.enabled: true"),
        ({"sensors": {"heads_shop": True}}, "sensors of shop", "in the UI"),
    ],
)
def test_what_is_not_as_it_should_be_says_what_to_do(empty_shop, differing, what, mend):
    found = to_do(empty_shop, **differing)
    assert list(found) == [what]
    assert mend in found[what]


@pytest.mark.parametrize("granularity", ["run", "op"])
def test_a_default_limit_is_enough_before_the_first_promotion(empty_shop, granularity):
    found = findings(empty_shop, pools={}, granularity=granularity)["pools"]
    assert not found.mend
    assert ("once Dagster saw a run" in found.says) == (granularity == "run")


def test_a_daemon_of_which_a_part_is_silent_is_named_by_that_part(empty_shop):
    found = findings(empty_shop, daemons={"SENSOR": False, "SCHEDULER": True})["daemon"]
    assert found.says == "no sign of life of SENSOR"


def test_sqlite_is_enough_on_one_machine_and_not_on_two(empty_shop):
    assert not findings(empty_shop, storage="Sqlite")["storage"].mend
    elsewhere = ("runs by K8sRunLauncher",)
    found = findings(empty_shop, storage="Sqlite", elsewhere=elsewhere)["storage"]
    assert "there is runs by K8sRunLauncher" in found.says
    assert "storage.postgres" in found.mend


def test_what_one_machine_may_do_without_several_may_not(empty_shop):
    away = {"elsewhere": ("runs by K8sRunLauncher",)}
    assert list(to_do(empty_shop, **away)) == ["compute logs"]
    assert to_do(empty_shop, **away, logs="NoOpComputeLogManager") == {}
    endless = to_do(empty_shop, **away, logs="NoOpComputeLogManager", most_runs=-1)
    assert "max_concurrent_runs" in endless["queue"]
    assert to_do(empty_shop, most_runs=-1) == {}


def test_the_sensor_that_removes_branches_is_looked_for_where_there_is_one(empty_shop):
    at = Tinybird(host="https://api.example.com", workspace="acme", token_variable="TB")
    staging = empty_shop.project.workspaces["staging"].model_copy(update={"tinybird": at})
    workspaces = {**empty_shop.project.workspaces, "staging": staging}
    project = empty_shop.project.model_copy(update={"workspaces": workspaces})
    found = findings(dataclasses.replace(empty_shop, project=project))["sensors of shop"]
    assert found.says.startswith("off: branches_shop;")


@pytest.mark.parametrize(
    ("state", "is_to_do"), [("", True), ("/tmp/dataops/state", True), ("/var/lib/dataops", False)]
)
def test_runs_on_other_machines_need_one_state_folder_to_deploy_to_tinybird(
    empty_shop, monkeypatch, state, is_to_do
):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    away = {"launcher": "K8sRunLauncher", "state": state}
    assert "state folder of shop" not in findings(empty_shop, **away)
    prod = empty_shop.project.workspaces["prod"]
    deployed = prod.model_copy(update={"deploy": TinybirdStep(platform="tinybird")})
    workspaces = {**empty_shop.project.workspaces, "prod": deployed}
    project = empty_shop.project.model_copy(update={"workspaces": workspaces})
    shop = dataclasses.replace(empty_shop, project=project)
    assert "state folder of shop" not in findings(shop, state=state)
    found = findings(shop, **away)["state folder of shop"]
    assert "K8sRunLauncher" in found.says
    assert ("DATAOPS_STATE_DIR" in found.mend) == is_to_do


def test_the_demos_settings_are_those_that_are_asked_for(empty_shop, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text(DEMO.read_text())
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        facts = look(instance, clock.now())
    assert to_do(empty_shop, **vars(facts)).keys() == {"daemon", "sensors of shop"}


def test_dagsters_own_defaults_are_not(empty_shop, tmp_path):
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        facts = look(instance, clock.now())
        instance.event_log_storage.set_concurrency_slots("dataops__shop__prod", 1)
        assert look(instance, clock.now()).pools == {"dataops__shop__prod": 1}
    expected = {"pools", "run monitoring", "daemon", "sensors of shop"}
    assert to_do(empty_shop, **vars(facts)).keys() == expected


@pytest.fixture
def check(shop: Shop, tmp_path: Path, monkeypatch):
    """Call `dataops check` with an instance of the given settings; returns code, output, errors."""
    monkeypatch.setenv("DATAOPS_CONFIG", str(shop.root / "dataops.yaml"))

    def called(settings: str | None, *arguments: str):
        monkeypatch.setenv("DAGSTER_HOME", "" if settings is None else str(tmp_path / "home"))
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "dagster.yaml").write_text(settings or "")
        done = CliRunner().invoke(main, ["check", *arguments], env={"COLUMNS": "200"})
        assert "Traceback" not in done.output
        return done

    return called


def test_check_shows_the_instance_to_people_and_keeps_its_code(check):
    done = check(DEMO.read_text())
    assert done.exit_code == 0
    assert "Sqlite answers" in done.stdout
    assert "none runs" in done.stdout
    assert "dagster-daemon run" in done.stdout


def test_check_shows_the_instance_as_data(check):
    told = json.loads(check(DEMO.read_text(), "--json").stdout)["instance"]
    assert {"what": "daemon", "says": "none runs"}.items() <= told[-2].items()
    assert all(finding.keys() == {"what", "says", "mend"} for finding in told)


def test_check_without_an_instance_says_nothing_of_one(check):
    assert json.loads(check(None, "--json").stdout)["instance"] == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("storage: {sqlite: {base_dir: {env: NOT_SET_ANYWHERE}}}", "NOT_SET_ANYWHERE"),
        ("nonsense: hunter2", 'unexpected config entry "nonsense" at the root'),
        ("storage: [", "dagster.yaml"),
        ("run_launcher: {module: nowhere.to.be.found, class: Launcher}", "nowhere"),
        ("concurrency: {pools: {default_limit: many}}", "is not a int"),
    ],
)
def test_check_tells_what_is_wrong_with_an_instance_beside_what_it_found(check, settings, told):
    done = check(settings, "--json")
    assert done.exit_code in (2, 3)
    found = json.loads(done.stdout)
    assert [row["state"] for row in found["workspaces"]] == ["ok"] * 3
    (error,) = found["errors"]
    assert told in error["message"]
    assert "hunter2" not in error["message"]
