"""A promotion of a Meltano project tells what it changes, and is held up by what would break."""

from __future__ import annotations

import dataclasses
import json

import pytest

from dataops_dagster import execution, linting, readings
from dataops_dagster import plan as plans
from dataops_dagster.model import Ready
from dataops_dagster.orchestration import metadata
from tests.conftest import Shop
from tests.gates import configured, gated, held, landed, planned, release, roll_back, stage
from tests.meltano_examples import SEED, SHOP, edited
from tests.repositories import git

BROKEN = edited(("[tap-x target-y]", "[tap-x target-z]"))


@pytest.fixture
def project(running_shop: Shop) -> Shop:
    """A Meltano project that went all the way once."""
    release(running_shop, {"meltano.yml": SHOP})
    return running_shop


# --- the plan ---------------------------------------------------------------------------------


def test_a_plan_tells_what_it_changes_in_the_targets_environment(project: Shop):
    text = edited(
        ("prod.example.com", "new.example.com"), ("staging.example.com", "st.example.com")
    )
    stage(project, {"meltano.yml": text})
    found = planned(project).configuration
    assert found
    assert [(c.setting, c.old, c.new) for c in found.settings] == [
        ("host", "prod.example.com", "new.example.com")
    ]
    assert [c.environment for c in found.elsewhere] == ["staging"]


def test_a_plan_of_a_pipeline_file_alone_tells_when_it_runs(project: Shop):
    stage(project, {"pipelines/load.yml": "schedule: 0 0 7 * * *\nactions: [load]\n"})
    found = planned(project).configuration
    assert found
    (timer,) = found.timers
    assert (timer.name, str(timer.first)) == ("load", "2026-11-22 07:00:00+00:00")


def test_a_project_that_goes_stops_what_it_ran(project: Shop):
    stage(project, {"meltano.yml": None})
    found = planned(project).configuration
    assert found
    assert [(timer.name, timer.what) for timer in found.timers] == [("nightly", "stops")]


def test_what_a_plan_says_of_the_configuration_is_not_in_its_digest(project: Shop):
    stage(project, {"meltano.yml": edited(("1.0", "1.1"))})
    made = planned(project)
    assert plans.signed(dataclasses.replace(made, configuration=None)).digest == made.digest


def test_a_promotion_that_touches_no_configuration_reads_none(project: Shop, monkeypatch):
    monkeypatch.setattr(readings, "of_tree", lambda *_: pytest.fail("it was read"))
    stage(project, {"models/a.sql": "select 1\n"})
    assert planned(project).configuration is None


def test_a_repository_without_a_meltano_project_has_no_configuration_to_tell(running_shop: Shop):
    stage(running_shop, {"models/a.yml": "a: 1\n"})
    assert planned(running_shop).configuration is None


def test_a_rollback_tells_what_it_changes_back(project: Shop):
    release(project, {"meltano.yml": edited(("prod.example.com", "new.example.com"))})
    made = roll_back(project)
    assert made.is_rollback
    stage(project, {"meltano.yml": edited(("prod.example.com", "newer.example.com"))})
    found = planned(project).configuration
    assert found
    assert found.settings[0].new == "newer.example.com"


def test_what_a_plan_changes_is_data_and_markdown_without_a_secret(project: Shop):
    stage(project, {"meltano.yml": edited(("$TAP_X_PASSWORD", "hunter2|x"))})
    made = planned(project)
    data = plans.as_data(made)["configuration"]
    assert data["settings"][0]["new"] == "*****"
    shown = metadata.of_plan(made)["dataops/configuration"].md_str
    assert "**configuration in prod**" in shown
    assert "hunter2" not in json.dumps(plans.as_data(made)) + shown


# --- the gate ---------------------------------------------------------------------------------


def test_what_would_break_keeps_the_gate_closed_until_it_is_mended(project: Shop):
    shop = gated(project, "lint: {}")
    stage(shop, {"meltano.yml": BROKEN})
    reason = held(shop, "lint").reason
    assert reason.startswith("meltano.yml:27 the job load needs target-z")
    assert reason.endswith("(job-plugin)")
    stage(shop, {"meltano.yml": SHOP}, after=1)
    landed(shop.promote("prod"))


def test_a_rule_can_be_ignored_by_its_id(project: Shop):
    stage(project, {"meltano.yml": BROKEN})
    landed(gated(project, "lint: {ignore: [job-plugin]}").promote("prod"))


def test_what_is_only_suspicious_is_told_and_closes_the_gate_where_it_is_asked_to(project: Shop):
    stage(project, {"meltano.yml": edited(("{host: prod.example.com}", "{}"))})
    shop = gated(project, "lint: {level: warning}")
    assert "(inherited-setting)" in held(shop, "lint").reason
    ready = gated(project, "lint: {}").consider("prod")
    assert isinstance(ready, Ready)
    (verdict,) = [v for v in ready.verdicts if v.condition == "lint"]
    assert verdict.reason.startswith("only warnings: meltano.yml:")


def test_what_is_on_the_target_already_keeps_nothing_away(project: Shop):
    release(project, {"meltano.yml": BROKEN})
    shop = gated(project, "lint: {level: warning}")
    stage(shop, {"meltano.yml": BROKEN.replace("1.0", "1.1")})
    landed(shop.promote("prod"))


NEEDS_MORE = edited(("password: $TAP", "api_token: $NEW_TOKEN, home: $HOME, password: $TAP"))


def running(shop: Shop, variables: str) -> Shop:
    """Let Meltano run in prod with some variables."""
    step = f"run: {{platform: meltano, run: [load], when: manual, variables: [{variables}]}}"
    text = (shop.root / "dataops.yaml").read_text().replace("{environment: staging}", "{lint: {}}")
    return configured(
        shop, text.replace("    environment: prod\n", f"    environment: prod\n    {step}\n")
    )


def test_a_plan_that_brings_what_a_variable_needs_waits_until_runs_are_given_it(project: Shop):
    shop = running(project, "TAP_X_PASSWORD")
    stage(shop, {"meltano.yml": NEEDS_MORE})
    assert held(shop, "lint").reason.count(" is not set in prod") == 1


def test_a_variable_that_only_this_process_lacks_is_told_and_keeps_nothing_away(
    project: Shop, monkeypatch
):
    shop = running(project, "TAP_X_PASSWORD, NEW_TOKEN")
    monkeypatch.setenv("TAP_X_PASSWORD", "set")
    monkeypatch.delenv("NEW_TOKEN", raising=False)
    stage(shop, {"meltano.yml": NEEDS_MORE})
    ready = shop.consider("prod")
    assert isinstance(ready, Ready)
    (verdict,) = [v for v in ready.verdicts if v.condition == "lint"]
    assert verdict.reason.count("(unset-variable)") == 1
    assert "NEW_TOKEN has no value here" in verdict.reason


def test_a_hostile_project_is_told_and_not_followed(project: Shop):
    shop = gated(project, "lint: {}")
    bomb = "\n".join(
        ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)]
    )
    stage(shop, {"meltano.yml": bomb})
    assert "(unreadable)" in held(shop, "lint").reason


# --- a commit ---------------------------------------------------------------------------------


def test_a_head_is_looked_into_whole(project: Shop):
    project.staging.commit({"meltano.yml": SEED, "a.yml": "a: 1\na: 2\n"})
    workspace = project.project.workspaces["staging"]
    commit = execution.pin(project.project, workspace, None, store=project.store)
    found = linting.at_commit(commit, project.project, workspace, store=project.store, ignore=[])
    assert {f.rule for f in found.errors} == {"duplicate-key"}
    assert {f.rule for f in found.warnings} == {"inherited-setting", "unlocked-plugin"}


def test_a_link_in_place_of_the_project_is_not_followed(project: Shop):
    folder = project.staging.clone
    (folder / "meltano.yml").unlink()
    (folder / "meltano.yml").symlink_to("/etc/passwd")
    git(folder, "commit", "--quiet", "--all", "-m", "Link")
    git(folder, "push", "--quiet", "origin", "HEAD:main")
    workspace = project.project.workspaces["staging"]
    reading = readings.at_head(project.project, workspace, store=project.store)
    assert "symbolic link" in reading.told_problems("staging")[0]
