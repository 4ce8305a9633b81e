"""Python and YAML in the documentation that needs a world of its own; no such block is left out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_k8s.container_context import K8sContainerContext

from dataops_dagster import DataOpsProjectComponent, build_dataops_definitions
from dataops_dagster.orchestration import naming
from dataops_dagster.settings import Workspace
from tests.pages import BLOCK, BLOCKS, DEMO, ROOT, Block, blocks, blocks_of
from tests.test_component import DEFINITIONS, PYPROJECT

OF_TEST_DOCS = {
    "python": ("from pathlib", "from dataops_dagster.testing", "# policy.py\n"),
    "yaml": (
        *("# dataops.yaml\n", "# mistakes.yaml\n", "# dagster.yaml\n", "# examples/"),
        *("ops:\n", "load_from:\n"),
        *(f"{key}:" for key in Workspace.model_fields),
    ),
}
"""How the examples begin that tests/test_docs.py tries."""

COMPONENT = "import dagster as dg\nfrom dataops_dagster import DataOpsProjectComponent"
STREAM = "import dagster as dg\n\n\n@dg.asset(deps="
QUEUE, VOLUMES = "concurrency:\n", "# in dagster-user-deployments.deployments\n"
OF_THESE_TESTS = {"python": (COMPONENT, STREAM), "yaml": (QUEUE, VOLUMES)}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in OF_TEST_DOCS], ids=str)
def test_each_program_and_each_configuration_that_is_shown_has_a_test(block: Block):
    here, there = OF_THESE_TESTS[block.language], OF_TEST_DOCS[block.language]
    assert block.text.startswith((*here, *there))


@pytest.fixture
def load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., dg.Definitions]]:
    """Make a project as `dg` does, put code and a `defs.yaml` into it, and load it by Dagster."""
    (tmp_path / "acme" / "defs" / "shop").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    for name in ("__init__.py", "defs/__init__.py"):
        (tmp_path / "acme" / name).touch()
    (tmp_path / "acme" / "definitions.py").write_text(DEFINITIONS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def loaded(defs_yaml: str, code: str = "") -> dg.Definitions:
        (tmp_path / "acme" / "shop.py").write_text(code)
        (tmp_path / "acme" / "defs" / "shop" / "defs.yaml").write_text(defs_yaml)
        return dg.load_from_defs_folder(path_within_project=tmp_path)

    yield loaded
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


def test_the_components_own_example_loads(load, monkeypatch):
    monkeypatch.setenv("STAGING_REPOSITORY", "https://git.example.com/shop/staging.git")
    ((language, text),) = BLOCK.findall(inspect.getdoc(DataOpsProjectComponent))
    assert language == "yaml"
    defs = load(text)
    dg.Definitions.validate_loadable(defs)
    assert defs.resolve_asset_graph().has(dg.AssetKey(["shop", "prod"]))


def test_the_component_that_is_overridden_shows_its_assets_as_it_says(load):
    (block,) = blocks("python", COMPONENT)
    attributes = yaml.safe_load((DEMO / "dataops.yaml").read_text())
    defs_yaml = yaml.safe_dump({"type": "acme.shop.ShopComponent", "attributes": attributes})
    defs = load(defs_yaml, block.text)
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    assert {graph.get(key).group_name for key in graph.get_all_asset_keys()} == {"platform"}
    assert graph.get(dg.AssetKey(["shop", "prod"])).tags["environment"] == "prod"


def test_an_asset_that_hangs_on_a_stream_finds_it(tmp_path):
    (block,) = blocks("python", STREAM)
    (step,) = (b for b in blocks_of(ROOT / "docs/meltano.md") if "streams:" in b.text)
    told = yaml.safe_load((DEMO / "dataops.yaml").read_text())
    told["workspaces"]["staging"].update(yaml.safe_load(step.text))
    (tmp_path / "dataops.yaml").write_text(yaml.safe_dump(told))
    made: dict[str, object] = {}
    exec(compile(block.text, str(block), "exec"), made)  # a page of ours
    ours = build_dataops_definitions(tmp_path / "dataops.yaml")
    report = dg.Definitions(assets=[made["users_report"]])
    graph = dg.Definitions.merge(ours, report).resolve_asset_graph()
    (parent,) = graph.get(dg.AssetKey("users_report")).parent_keys
    assert parent in ours.resolve_asset_graph().get_all_asset_keys()


def test_the_limit_of_runs_that_is_shown_is_one_of_dagsters_for_a_tag_of_ours(tmp_path):
    (block,) = blocks("yaml", QUEUE)
    (tmp_path / "dagster.yaml").write_text(block.text)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue
        (limit,) = queue.tag_concurrency_limits
    key, _ = naming.run_tag("shop", "staging", "", "")
    assert limit == {"key": key, "limit": 1}


def test_the_volumes_that_are_shown_are_kubernetes_and_lie_where_the_values_look():
    (block,) = blocks("yaml", VOLUMES)
    shown = yaml.safe_load(block.text)
    given = {"volumes": shown["volumes"], "volume_mounts": shown["volumeMounts"]}
    assert len(given) == len(shown)
    context = K8sContainerContext.create_from_config({"k8s": given})  # every field is checked
    (mount,) = context.run_k8s_config.container_config["volume_mounts"]
    (volume,) = context.run_k8s_config.pod_spec_config["volumes"]
    assert volume["name"] == mount["name"]
    assert volume["secret"]["default_mode"] == 0o400
    made = [
        b.text for b in blocks("console") if f"generic {volume['secret']['secret_name']} " in b.text
    ]
    assert len(made) == 1
    values = yaml.safe_load((ROOT / "examples" / "kubernetes" / "values.yaml").read_text())
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    (file,) = (e["value"] for e in deployment["env"] if e["name"] == "DATAOPS_CONFIG")
    assert str(Path(file).parent / "ssh") == mount["mount_path"]
