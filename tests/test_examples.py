"""The examples of larger deployments: one set of settings, which the real classes accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_celery.launcher import CeleryRunLauncher
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext

from dataops_dagster import clock
from dataops_dagster.demo.daemon import DEFINITIONS
from dataops_dagster.orchestration.readiness import judge, look
from tests.conftest import Shop

EXAMPLES = Path(__file__).parent.parent / "examples"
DEMO = Path(__file__).parent.parent / "dataops_dagster" / "demo" / "dagster.yaml"

KUBECONFIG = """\
current-context: here
clusters: [{name: here, cluster: {server: "https://cluster.example"}}]
users: [{name: here, user: {token: none}}]
contexts: [{name: here, context: {cluster: here, user: here}}]
"""


def example(path: str) -> dict[str, Any]:
    return yaml.safe_load((EXAMPLES / path).read_text())


def without(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    assert set(keys) <= settings.keys()
    return {key: value for key, value in settings.items() if key not in keys}


@pytest.fixture
def instance_of(tmp_path: Path):
    """Open an instance with these settings; its storage is here, as no database is asked."""

    def opened(settings: dict[str, Any]) -> dg.DagsterInstance:
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
        return dg.DagsterInstance.from_config(str(tmp_path))

    return opened


def kubernetes_settings(folder: Path) -> dict[str, Any]:
    """Return what the chart makes of the values for dagster.yaml, but for where the cluster is."""
    values = example("kubernetes/values.yaml")
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    (folder / "kubeconfig").write_text(KUBECONFIG)
    launcher = {
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "dagster-instance",
        "service_account_name": "dagster",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "load_incluster_config": False,
        "kubeconfig_file": str(folder / "kubeconfig"),
        "image_pull_policy": given["imagePullPolicy"],
        "run_k8s_config": {"container_config": given["runK8sConfig"]["containerConfig"]},
    }
    named = {"module": "dagster_k8s", "class": values["runLauncher"]["type"], "config": launcher}
    return {"run_launcher": named, **values["additionalInstanceConfig"]}


def test_the_examples_settle_what_the_demo_settles():
    production, demo = example("production/dagster.yaml"), yaml.safe_load(DEMO.read_text())
    assert production["concurrency"]["pools"] == demo["concurrency"]["pools"]
    for key in ("telemetry", "run_queue", "run_retries"):
        assert production[key] == demo[key]
    assert production["run_monitoring"].keys() == demo["run_monitoring"].keys()


def test_celerys_settings_are_those_of_production_with_another_launcher():
    celery = example("celery/dagster.yaml")
    assert without(celery, "run_launcher") == example("production/dagster.yaml")


def test_kubernetes_settings_are_those_of_production_but_for_what_the_chart_writes_itself():
    values, production = example("kubernetes/values.yaml"), example("production/dagster.yaml")
    told = values["additionalInstanceConfig"]
    assert told["run_monitoring"].pop("start_timeout_seconds") == 300
    production["run_monitoring"].pop("start_timeout_seconds")
    assert told == without(production, "storage", "compute_logs", "telemetry")
    assert values["computeLogManager"]["type"] == production["compute_logs"]["class"]
    assert values["telemetry"] == production["telemetry"]
    database = production["storage"]["postgres"]["postgres_db"]
    assert values["postgresql"]["postgresqlScheme"] == database["scheme"]


def test_the_kubernetes_launcher_accepts_the_values(instance_of, tmp_path):
    settings = kubernetes_settings(tmp_path)
    with instance_of(settings) as instance:
        assert isinstance(instance.run_launcher, K8sRunLauncher)
    given = settings["run_launcher"]["config"]["run_k8s_config"]
    context = K8sContainerContext.create_from_config({"k8s": {"run_k8s_config": given}})
    assert context.run_k8s_config.container_config["resources"]["limits"] == {"memory": "2Gi"}


def test_the_pods_share_the_state_folder_alone_and_the_code_location_serves_our_definitions():
    (deployment,) = example("kubernetes/values.yaml")["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"] == ["--module-name", DEFINITIONS]
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}
    variables = {each["name"]: each["value"] for each in deployment["env"]}
    given = {"volumes": deployment["volumes"], "volume_mounts": deployment["volumeMounts"]}
    context = K8sContainerContext.create_from_config({"k8s": given})
    (volume,) = context.run_k8s_config.pod_spec_config["volumes"]
    (mount,) = context.run_k8s_config.container_config["volume_mounts"]
    assert mount["name"] == volume["name"]
    assert mount["mount_path"] == variables["DATAOPS_STATE_DIR"]
    assert not Path(variables["DATAOPS_CACHE_DIR"]).is_relative_to(mount["mount_path"])
    claim = example("kubernetes/state.yaml")
    assert claim["kind"] == "PersistentVolumeClaim"
    assert volume["persistent_volume_claim"]["claim_name"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_celery_launcher_accepts_its_settings(instance_of, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "cache+memory://")
    with instance_of(without(example("celery/dagster.yaml"), "storage")) as instance:
        assert isinstance(instance.run_launcher, CeleryRunLauncher)


def test_check_finds_nothing_to_set_in_the_settings_of_production(empty_shop: Shop, instance_of):
    with instance_of(without(example("production/dagster.yaml"), "storage")) as instance:
        found = judge(look(instance, clock.now()), [empty_shop.project])
    assert {f.what for f in found if f.mend} == {"daemon", "sensors of shop"}


def test_check_says_that_sqlite_is_not_for_pods(empty_shop: Shop, instance_of, tmp_path):
    with instance_of(kubernetes_settings(tmp_path)) as instance:
        found = {f.what: f for f in judge(look(instance, clock.now()), [empty_shop.project])}
    assert "runs by K8sRunLauncher" in found["storage"].says
    assert "storage.postgres" in found["storage"].mend
