"""The documentation: what is shown of configuration and programs works, and what is listed is what there is."""

from __future__ import annotations

import dataclasses
import re
import runpy
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import dagster as dg
import pytest
import yaml

from dataops_dagster import build_dataops_definitions, clock, config, git
from dataops_dagster.cli import main
from dataops_dagster.cli.session import Session
from dataops_dagster.errors import ConfigError
from dataops_dagster.gate import lint
from dataops_dagster.meltano import lint as meltano_lint
from dataops_dagster.model import Decision, DecisionKind
from dataops_dagster.orchestration import assets, checks, decisions, ops, trials
from dataops_dagster.settings import Workspace
from dataops_dagster.testing.tinybird import StandIn
from tests import repositories, tinybird
from tests.conftest import NOW, PROJECT_FILES, SHOP, Shop, make_shop
from tests.pages import (
    BLOCK,
    BLOCKS,
    DEMO,
    PAGES,
    ROOT,
    Block,
    answer_after,
    blocks,
    blocks_of,
    run,
)
from tests.repositories import make_workspace

LANGUAGES = {"console", "python", "sh", "text", "yaml"}


def demo_configuration(folder: Path) -> Path:
    path = folder / "dataops.yaml"
    path.write_text((DEMO / "dataops.yaml").read_text())
    return path


@pytest.fixture
def demo(tmp_path: Path) -> dg.Definitions:
    return build_dataops_definitions(demo_configuration(tmp_path))


# --- examples ---------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_an_example_says_what_it_is(block):
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", blocks("yaml", "# dataops.yaml\n"), ids=str)
def test_a_configuration_that_is_shown_loads(tmp_path, block):
    path = tmp_path / "dataops.yaml"
    path.write_text(block.text)
    assert config.load(path).targets


@pytest.mark.parametrize("block", blocks("yaml", "# mistakes.yaml\n"), ids=str)
def test_mistakes_that_are_shown_are_told_as_shown(tmp_path, monkeypatch, block):
    monkeypatch.chdir(tmp_path)
    Path("mistakes.yaml").write_text(block.text)
    with pytest.raises(ConfigError) as told:
        config.load(Path("mistakes.yaml"))
    assert f"dataops: {told.value}\n" == answer_after(block)


@pytest.mark.parametrize("block", blocks("yaml", "ops:\n"), ids=str)
def test_a_run_configuration_that_is_shown_is_one(demo, tmp_path, block):
    shown = yaml.safe_load(block.text)
    (op,) = shown["ops"]
    verb = op.partition("__")[0]
    job = demo.resolve_job_def("promote_shop" if op == "shop__prod" else f"{verb}_shop")
    assert dg.validate_run_config(job, shown)
    said = shown["ops"][op].get("config", {})
    named = {*said.get("commits", {}), *said.get("retests", {}), said.get("target", "prod")}
    assert named <= set(config.load(tmp_path / "dataops.yaml").workspaces)


def test_the_settings_of_an_instance_that_are_shown_are_those_of_the_demo():
    (block,) = blocks("yaml", "# dagster.yaml\n")
    assert yaml.safe_load(block.text) == yaml.safe_load((DEMO / "dagster.yaml").read_text())


def test_the_code_location_that_is_shown_is_the_one_in_this_folder():
    (block,) = blocks("yaml", "load_from:\n")
    assert yaml.safe_load(block.text) == yaml.safe_load((ROOT / "workspace.yaml").read_text())


@pytest.mark.parametrize("block", blocks("yaml", "# examples/"), ids=str)
def test_a_part_of_an_example_that_is_shown_stands_in_it(block):
    title, _, text = block.text.partition("\n")
    whole = yaml.safe_load((ROOT / title.removeprefix("# ")).read_text())
    for key, shown in yaml.safe_load(text).items():
        assert whole[key] == shown


@pytest.mark.parametrize("block", blocks("python", "from pathlib"), ids=str)
def test_a_program_that_is_shown_runs(tmp_path, monkeypatch, block):
    demo_configuration(tmp_path)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "definitions.py"
    script.write_text(block.text)
    made = runpy.run_path(str(script))
    dg.Definitions.validate_loadable(made["defs"])


@pytest.mark.parametrize("block", blocks("python", "from dataops_dagster.testing"), ids=str)
def test_a_test_that_is_shown_passes(tmp_path, block):
    script = tmp_path / "shown.py"
    script.write_text(block.text)
    runpy.run_path(str(script))


# --- a gate -----------------------------------------------------------------------------------

PARTS = [b for b in blocks("yaml") if b.text.partition(":")[0] in Workspace.model_fields]
"""Examples that are a part of what stands under a workspace."""

EU = """\
  eu:
    repository: eu.git
    environment: eu
    upstream: dev
    run: {platform: command, command: [sh, run.sh]}
"""


def with_part(block: Block) -> str:
    """Return the shop's configuration, with an example put in where production stands."""
    told = yaml.safe_load(SHOP + EU)
    told["workspaces"]["staging"]["deploy"] = {"platform": "command", "command": ["true"]}
    told["protocols"] += ["https", "ssh"]
    prod, part = told["workspaces"]["prod"], yaml.safe_load(block.text)
    if "credential" in part:
        prod["repository"] = "https://git.example.com/shop/prod.git"
    prod.update(part)
    return yaml.safe_dump(told, sort_keys=False)


@pytest.mark.parametrize("block", PARTS, ids=str)
def test_a_part_of_a_configuration_that_is_shown_loads(tmp_path, block):
    path = tmp_path / "dataops.yaml"
    path.write_text(with_part(block))
    assert config.load(path).targets


def is_followed_by_a_tree(block: Block) -> bool:
    after = [b for b in BLOCKS if b.page == block.page and b.number == block.number + 1]
    return bool(after) and bool(re.match(r" *(prod: not yet|passed|waits|closed)", after[0].text))


@pytest.fixture
def story(tmp_path, monkeypatch) -> Shop:
    """The shop as docs/gate.md tells of it; git's dates are fixed, so that its ids are, too."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setitem(repositories.ENVIRONMENT, f"GIT_{role}_DATE", "2026-11-20T08:00:00Z")
    shop = make_shop(tmp_path, SHOP + EU)
    make_workspace(tmp_path, "eu")
    shop.dev.commit(PROJECT_FILES, "Initial commit")
    shop.promote("staging")
    shop.prove(shop.staging)
    shop.promote("prod")
    shop.prod.commit(
        {"pipeline.yml": "source: users\ntarget: lake\n", "grants.sql": "grant select\n"},
        "Load into the lake",
    )
    shop.dev.commit(
        {"pipeline.yml": "source: users\ntarget: vault\n", "users.yml": "id: 1\nid: 2\n"},
        "Load into the vault",
    )
    shop.promote("staging")
    shop.promote("eu")
    shop.prove(shop.staging)
    shop.book.decided = [decision(DecisionKind.HOLD, "bo", "books are closed", id="9c41d2be77f0")]
    monkeypatch.setattr(Session, "book", shop.book)
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(hours=1))
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "policy", raising=False)
    return shop


def decision(kind: DecisionKind, by: str, reason: str, **more: str) -> Decision:
    told = {"id": "run-9", **more}
    return Decision(kind=kind, target="prod", by=by, reason=reason, time=NOW, **told)


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in PARTS if is_followed_by_a_tree(b)], ids=str)
def test_a_gate_that_is_shown_says_what_is_shown(story: Shop, block):
    shown = answer_after(block).splitlines()
    (story.root / "dataops.yaml").write_text(with_part(block))
    (policy,) = blocks("python", "# policy.py\n")
    (story.root / "policy.py").write_text(policy.text)
    if "rejected" in answer_after(block):
        named = {"commit": story.staging.head, "tree": story.staging.tree(), "id": "5d20c6f1a39e"}
        story.book.decided.append(decision(DecisionKind.REJECT, "ada", "doubles orders", **named))
    plan = run("dataops --json plan prod")
    assert plan.exit_code == 0, plan.output
    if "1 of 2 for sha256:" in answer_after(block):
        digest = re.search(r"sha256:[0-9a-f]{64}", plan.stdout)
        assert digest
        approved = decision(DecisionKind.APPROVE, "ada", "", plan=digest[0])
        story.book.decided.append(approved)
    told = run("dataops why prod").output.splitlines()
    if shown[0] == "prod: not yet":
        assert told == shown
    else:
        assert {line.strip() for line in shown} <= {line.strip() for line in told}, told


def test_the_predicate_that_is_shown_agrees_when_nothing_is_in_its_way(story: Shop, tmp_path):
    (policy,) = blocks("python", "# policy.py\n")
    (tmp_path / "policy.py").write_text(policy.text)
    may_land = runpy.run_path(str(tmp_path / "policy.py"))["may_land"]
    plan = story.consider("prod").plan
    assert plan
    assert may_land(plan, (), NOW)
    assert may_land(dataclasses.replace(plan, changes=()), (), NOW) is None


def test_the_readme_begins_with_one_command_that_shows_it_and_one_that_tests_it():
    first = [block.text.splitlines() for block in blocks_of(ROOT / "README.md")[:2]]
    assert [len(lines) for lines in first] == [1, 1]
    (demo,), (test,) = first
    assert demo.removeprefix("$ ").startswith("python3 dev.py demo")
    assert test.removeprefix("$ ").startswith("python3 dev.py test")


def test_the_example_in_this_folder_is_the_demos_project():
    shown, told = (config.load(folder / "dataops.yaml") for folder in (ROOT, DEMO))
    repositories = [w.repository for w in shown.workspaces.values()]
    assert repositories == [
        (ROOT / ".demo" / "repositories" / f"{name}.git").resolve().as_uri()
        for name in shown.workspaces
    ]
    moved = {
        name: w.model_copy(update={"repository": told.workspaces[name].repository})
        for name, w in shown.workspaces.items()
    }
    assert shown.model_copy(update={"workspaces": moved}) == told


# --- links ------------------------------------------------------------------------------------

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"")


def anchors(page: Path) -> set[str]:
    """Return what GitHub calls the page's headings."""
    text = BLOCK.sub("", page.read_text())  # a comment in an example is no heading
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(page):
    for link in ("".join(found) for found in LINK.findall(BLOCK.sub("", page.read_text()))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_decision_is_in_the_list_of_decisions():
    listed = (ROOT / "docs" / "adr" / "README.md").read_text()
    for page in (ROOT / "docs" / "adr").glob("0*.md"):
        title = page.read_text().partition("\n")[0].partition(": ")[2]
        assert f"| [{page.name[:4]}]({page.name}) | {title} |" in listed


# --- lists ------------------------------------------------------------------------------------


def first_cells(page: str) -> set[str]:
    """Return the code words in the first cell of each table row of a page."""
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return {word for cell in rows for word in re.findall(r"`([^`]+)`", cell)}


def test_every_setting_of_git_has_its_reason():
    rows = dict(
        re.findall(
            r"^\| `([\w.]+)` \| (\S+) \| .+ \|$",
            (ROOT / "docs" / "security.md").read_text(),
            re.MULTILINE,
        )
    )
    shown = {key: "" if value == "empty" else value.strip("`") for key, value in rows.items()}
    assert shown == git._SETTINGS


def test_every_key_of_the_configuration_is_explained():
    told = first_cells("configuration.md")
    parts = config.schema()["$defs"]
    for name in ("Workspace", "CommandStep", "MeltanoStep", "MeltanoCloudStep", "TinybirdStep"):
        assert set(parts[name]["properties"]) <= told
    for name in ("Gate", "Merge"):
        assert {f"{name.lower()}.{key}" for key in parts[name]["properties"]} <= told
    for name in ("Approvals", "Lint"):
        assert {f"gate.{name.lower()}.{key}" for key in parts[name]["properties"]} <= told
    assert {f"tinybird.{key}" for key in parts["Tinybird"]["properties"]} <= told
    assert {f"tinybird.branches.{key}" for key in parts["Branches"]["properties"]} <= told
    assert set(parts["Period"]["properties"]) <= told
    assert {f"automation.{key}" for key in parts["Automation"]["properties"]} <= told


def test_every_condition_of_a_gate_is_explained():
    known = set()
    for path in (ROOT / "dataops_dagster").rglob("*.py"):
        known |= set(re.findall(r"(?:Verdict|all_of|any_of)\(\s*\"([a-z ]+)\"", path.read_text()))
    assert "evidence" in known
    assert known - {"rollback"} <= first_cells("gate.md")  # a rollback asks no gate


def test_every_rule_of_the_linter_is_explained():
    assert {*lint.RULES, *meltano_lint.RULES} <= first_cells("gate.md")


def test_every_rule_of_the_linter_tells_its_level():
    told = (ROOT / "docs" / "gate.md").read_text()
    for id_, rule in meltano_lint.RULES.items():
        assert f"| `{id_}` | {rule.severity.value} |" in told


def test_every_field_of_a_run_configuration_is_explained():
    told = first_cells("dagster.md")
    for fields in (
        ops.PromoteConfig,
        checks.RunConfig,
        assets.DeployConfig,
        decisions.DecideConfig,
        decisions.RollbackConfig,
        trials.TrialConfig,
    ):
        assert set(fields.model_fields) <= told


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield all commands by their names, those of groups too."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def test_every_command_and_option_is_explained():
    page = (ROOT / "docs" / "cli.md").read_text()
    for name, command in commands(main):
        assert f"`{name}" in page
        for option in command.params:
            assert option.param_type_name == "argument" or f"`{option.opts[0]}" in page, name


def test_every_variable_that_is_read_is_explained():
    read = set()
    for path in (ROOT / "dataops_dagster").rglob("*.py"):
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", path.read_text()))
    assert read
    assert read <= first_cells("configuration.md")


def test_every_metadata_key_is_explained():
    used = set()
    for path in (ROOT / "dataops_dagster" / "orchestration").glob("*.py"):
        used |= set(re.findall(r"\"(dataops/[a-z_]+)\"", path.read_text()))
    assert used == {word for word in first_cells("glossary.md") if word.startswith("dataops/")}


def test_every_part_of_the_stand_in_is_explained():
    told = " ".join(first_cells("testing-tinybird.md"))
    public = {name for name in vars(StandIn) if not name.startswith("_")} - {"serve"}
    assert public
    assert {name for name in public if not re.search(rf"\b{name}\b", told)} == set()
    assert set(tinybird.VARIABLES.values()) <= first_cells("testing-tinybird.md")


def test_every_module_is_in_the_architecture():
    package = ROOT / "dataops_dagster"
    folders = (
        package,
        *(
            package / name
            for name in (
                "orchestration",
                "gate",
                "remotes",
                "meltano",
                "meltano_cloud",
                "platforms",
                "tinybird",
                "testing/tinybird",
            )
        ),
    )
    modules = [module for folder in folders for module in folder.glob("*.py")]
    told = {Path(word).name for word in first_cells("architecture.md")}
    assert {path.name for path in modules if path.name != "__init__.py"} <= told
