"""The component: the same configuration in a `defs.yaml`, checked by Dagster's own commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pytest
import yaml

from dataops_dagster import DataOpsProjectComponent
from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Evidence
from dataops_dagster.orchestration.book import InstanceBook
from tests.conftest import Shop

TYPE = "dataops_dagster.DataOpsProjectComponent"
PYPROJECT = """\
[project]
name = "acme"
version = "0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "acme"
"""
DEFINITIONS = """\
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


def attributes_of(shop: Shop) -> dict:
    found = yaml.safe_load((shop.root / "dataops.yaml").read_text())
    for workspace in found["workspaces"].values():
        workspace["repository"] = str(shop.root / workspace["repository"])
    return found


def built(attributes: dict, component: type = DataOpsProjectComponent) -> dg.Definitions:
    return component.from_attributes_dict(attributes=attributes).build_defs(
        dg.ComponentTree.for_test().load_context
    )


def keys(defs: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


def test_the_keys_of_a_dataops_yaml_make_the_same_definitions(shop):
    from dataops_dagster import build_dataops_definitions

    plain = build_dataops_definitions(shop.root / "dataops.yaml")
    made = built(attributes_of(shop))
    assert keys(made) == keys(plain)
    assert {job.name for job in made.jobs} == {job.name for job in plain.jobs}


def test_a_component_may_name_a_dataops_yaml_instead(shop):
    assert "shop/prod" in keys(built({"config": str(shop.root / "dataops.yaml")}))


def test_a_name_of_a_file_beside_other_keys_is_refused():
    with pytest.raises(ConfigError, match="stands beside other keys"):
        built({"config": "dataops.yaml", "project": "shop"})


def test_templates_are_filled_in_from_the_environment(shop, monkeypatch):
    monkeypatch.setenv("SHOP_ENVIRONMENT", "production")
    monkeypatch.setenv("SHOP_ROLLBACK", "true")
    given = attributes_of(shop)
    given["workspaces"]["prod"] |= {
        "environment": "{{ env.SHOP_ENVIRONMENT }}",
        "auto_rollback": "{{ env.SHOP_ROLLBACK }}",
    }
    prod = DataOpsProjectComponent.from_attributes_dict(attributes=given).project.workspaces["prod"]
    assert (prod.environment, prod.auto_rollback) == ("production", True)


@pytest.mark.parametrize("text", ["2", "1.10", "1_000", "0x1f", "true", "True", "[1, 2]", "'a'"])
def test_what_the_settings_want_as_text_stays_as_the_environment_has_it(shop, monkeypatch, text):
    monkeypatch.setenv("SHOP_TEXT", text)
    given = attributes_of(shop)
    command = ["sh", "{{ env.SHOP_TEXT }}", "--to={{ env.SHOP_TEXT }}", "7"]
    given["workspaces"]["staging"] |= {"run": {"platform": "command", "command": command}}
    project = DataOpsProjectComponent.from_attributes_dict(attributes=given).project
    assert project.workspaces["staging"].run.command == ("sh", text, f"--to={text}", "7")


def test_tags_environments_and_ids_may_look_like_numbers(shop, monkeypatch):
    monkeypatch.setenv("N", "2")
    given = attributes_of(shop)
    tinybird = {"host": "https://api.tinybird.co", "workspace": "acme", "token_variable": "TOKEN"}
    given["workspaces"]["prod"] |= {
        "environment": "{{ env.N }}",
        "tags": {"k": "{{ env.N }}", "plain": "2"},
        "tinybird": {**tinybird, "workspace_id": "{{ env.N }}"},
    }
    prod = DataOpsProjectComponent.from_attributes_dict(attributes=given).project.workspaces["prod"]
    assert (prod.environment, prod.tags, prod.tinybird.workspace_id) == (
        *("2", {"k": "2", "plain": "2"}, "2"),
    )


def test_where_the_settings_want_a_number_or_a_list_a_template_gives_it(shop, monkeypatch):
    monkeypatch.setenv("N", "2")
    monkeypatch.setenv("UPSTREAM", "['staging']")
    given = attributes_of(shop)
    prod = given["workspaces"]["prod"]
    prod |= {"upstream": "{{ env.UPSTREAM }}", "gate": {"runs": "{{ env.N }}"}}
    made = DataOpsProjectComponent.from_attributes_dict(attributes=given).project.workspaces["prod"]
    assert (made.gate.runs, made.upstream) == (2, ("staging",))
    prod["gate"] = {"runs": "{{ env.UPSTREAM }}"}
    with pytest.raises(ConfigError, match=r"workspaces\.prod\.gate\.runs"):
        built(given)


def test_a_template_that_gives_nothing_is_named(shop):
    given = attributes_of(shop)
    given["workspaces"]["prod"]["environment"] = "{{ env.NOT_SET_ANYWHERE }}"
    with pytest.raises(ConfigError, match=r"workspaces\.prod\.environment: its template"):
        built(given)


def test_mistakes_are_told_with_their_keys_all_at_once(shop):
    given = attributes_of(shop)
    given["workspaces"]["prod"] |= {"upstrem": "staging", "promote": "sometimes"}
    with pytest.raises(ConfigError) as caught:
        built(given)
    assert "did you mean upstream?" in str(caught.value)
    assert "workspaces.prod.promote" in str(caught.value)


class Owned(DataOpsProjectComponent):
    """As a user would write it."""

    def get_asset_spec(self, spec, workspace):
        return spec.replace_attributes(
            owners=["team:data"], tags={"tier": workspace.environment}, group_name="platform"
        )


def test_an_override_decides_how_assets_appear(shop):
    graph = built(attributes_of(shop), Owned).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert graph.get(key).owners == ["team:data"]
        assert graph.get(key).group_name == "platform"
    assert graph.get(dg.AssetKey(["shop", "prod"])).tags["tier"] == "prod"


def test_the_sensor_of_heads_stands_at_each_workspace_whatever_group_an_override_names(shop):
    defs = built(attributes_of(shop), Owned)
    selection = defs.get_sensor_def("heads_shop").asset_selection
    found = selection.resolve(defs.resolve_asset_graph())
    assert {key.to_user_string() for key in found} == {"shop/dev", "shop/staging", "shop/prod"}


def promote(defs: dg.Definitions, target: str) -> bool:
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("promote_shop").get_subset(
            asset_selection={dg.AssetKey(["shop", target])}, asset_check_selection=set()
        )
        return job.execute_in_process(instance=instance, raise_on_error=False).success


def test_a_promotion_works_from_assets_that_an_override_changed(shop):
    assert promote(built(attributes_of(shop), Owned), "staging")
    assert shop.staging.tree() == shop.dev.tree()


class Believing(DataOpsProjectComponent):
    """Takes the word of another system for every run."""

    said: ClassVar[list[Evidence]] = []

    def get_book(self, instance):
        class Elsewhere(InstanceBook):
            def find(self, *_):
                return Believing.said

        return Elsewhere(instance)


def test_an_override_decides_where_evidence_is_found(shop):
    shop.promote("staging")
    attributes = attributes_of(shop)
    Believing.said = []
    assert not promote(built(attributes, Believing), "prod")
    shop.prove(shop.staging)
    Believing.said = shop.book.evidence
    assert promote(built(attributes, Believing), "prod")
    assert shop.prod.tree() == shop.staging.tree()


@pytest.fixture
def dg_project(tmp_path: Path) -> Path:
    root = tmp_path / "acme"
    (root / "acme" / "defs").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "acme" / "__init__.py").touch()
    (root / "acme" / "defs" / "__init__.py").touch()
    (root / "acme" / "definitions.py").write_text(DEFINITIONS)
    return root


def run_dg(project: Path, *words: str, code: int = 0) -> str:
    program = Path(sys.executable).parent / "dg"
    env = {**os.environ, "PYTHONPATH": str(project), "COLUMNS": "200"}
    done = subprocess.run(
        [program, *words], cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_what_dg_scaffolds_passes_its_checks(dg_project):
    run_dg(dg_project, "scaffold", "defs", TYPE, "shop")
    assert f"type: {TYPE}" in (dg_project / "acme/defs/shop/defs.yaml").read_text()
    assert "validated successfully" in run_dg(dg_project, "check", "yaml")
    assert "loaded successfully" in run_dg(dg_project, "check", "defs")
    listed = run_dg(dg_project, "list", "defs")
    assert "shop/prod" in listed
    assert "promote_shop" in listed


@pytest.mark.slow
def test_dg_lists_the_component_and_says_what_it_is_for(dg_project):
    listed = run_dg(dg_project, "list", "components")
    assert TYPE in listed
    assert "Promote data workspaces" in listed
    assert "upstream" in run_dg(dg_project, "utils", "inspect-component", TYPE)


@pytest.mark.slow
def test_dg_names_the_line_of_an_unknown_key(dg_project):
    run_dg(dg_project, "scaffold", "defs", TYPE, "shop")
    file = dg_project / "acme/defs/shop/defs.yaml"
    file.write_text(file.read_text().replace("upstream: staging", "upstrem: staging"))
    line = file.read_text().splitlines().index("      upstrem: staging") + 1
    assert f"defs.yaml:{line}" in run_dg(dg_project, "check", "yaml", code=1)
