"""Data sources shared between workspaces, and the data project's own tests as evidence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.testing.tinybird import Fault
from dataops_dagster.tinybird import testing
from dataops_dagster.tinybird.deploying import Deployed
from dataops_dagster.tinybird.model import Refusal
from tests.tinybird_site import (
    USER_TOKEN,
    Change,
    Site,
    classic_site,
    forward_site,
    nothing,
    remove,
    stand_in,
)

pytestmark = pytest.mark.slow
__all__ = ["classic_site", "forward_site", "stand_in"]

SHARES = [{"datasource": "rides", "workspace": "other_acme"}]


@pytest.fixture(params=["forward_site", "classic_site"])
def site(request) -> Site:
    return request.getfixturevalue(request.param)


# --- sharing ----------------------------------------------------------------------------------


def shared_with(name: str, site: Site) -> Change:
    """Say in Forward's data project what is shared; in Classic the settings alone do."""

    def change(folder: Path) -> None:
        path = folder / "datasources" / "rides.datasource"
        if site.dialect is Dialect.FORWARD:
            path.write_text(f"SHARED_WITH >\n    {name}\n\n{path.read_text()}")

    return change


def test_what_is_declared_is_shared_once(site: Site):
    other = site.stand_in.create_workspace("other_acme", site.workspace.dialect)
    more = {"shares": SHARES, "user_token_variable": USER_TOKEN}
    for _ in range(2):
        assert isinstance(site.deploy(shared_with("other_acme", site), **more), Deployed)
        assert set(other.shared) == {"staging_acme.rides"}
    shared = [p for p in site.asked("POST", "/v0/datasources") if p.endswith("/share")]
    assert len(shared) == (1 if site.dialect is Dialect.CLASSIC else 0)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "rides is not shared with other_acme (hint: "),
        ({"user_token_variable": USER_TOKEN}, "the user token sees no such workspace"),
    ],
)
def test_a_missing_share_is_an_error(site: Site, more, told):
    answer = site.deploy(shares=SHARES, **more)
    assert isinstance(answer, Refusal), answer
    assert "deployed, but" in str(answer)
    assert told in str(answer)


def test_the_origin_comes_before_those_who_use_it(site: Site, monkeypatch):
    uses = [{"datasource": "rides", "workspace": "core_acme"}]
    early = site.deploy(uses=uses)
    assert isinstance(early, Refusal)
    assert "core_acme.rides: not shared with staging_acme yet" in str(early)
    assert site.served == set()
    core = site.stand_in.create_workspace("core_acme", site.workspace.dialect)
    monkeypatch.setenv("TB_CORE_TOKEN", core.token)
    origin = Site(site.stand_in, core, site.executable, site.dialect)
    shares = [{"datasource": "rides", "workspace": "staging_acme"}]
    tokens = {"token_variable": "TB_CORE_TOKEN", "user_token_variable": USER_TOKEN}
    told = origin.deploy(shared_with("staging_acme", site), shares=shares, **tokens)
    assert isinstance(told, Deployed), told
    assert isinstance(site.deploy(uses=uses), Deployed)


# --- tests ------------------------------------------------------------------------------------


def run_tests(site: Site, folder: Path, change: Change = nothing, local: str = "") -> str | Refusal:
    folder.mkdir(exist_ok=True)
    tested = testing.test(site.order(folder, change), local or site.stand_in.url)
    assert tested.where.startswith(
        f"{site.workspace.name} ({site.workspace.id}) at {site.stand_in.url}"
    )
    return tested.refusal or tested.detail


def expect(site: Site, folder: Path) -> None:
    """Let the tested endpoint answer what Forward's tests expect."""
    (test,) = yaml.safe_load((folder / "tests" / "busiest_stations.yaml").read_text())[:1]
    rows = [json.loads(line) for line in test["expected_result"].splitlines()]
    site.stand_in.answer("busiest_stations", rows)


def test_forwards_tests_run_in_tinybird_local_without_a_token(forward_site: Site, tmp_path):
    answer = run_tests(forward_site, tmp_path / "work", lambda f: expect(forward_site, f))
    assert answer == "1 file(s) of tests passed"
    asked = [a for a in forward_site.stand_in.requests if a.who == "staging_acme"]
    assert {a.path for a in asked} == {"/v1/workspace"}  # by us: whose evidence is it?
    forward_site.stand_in.answer("busiest_stations", [{"other": 1}])
    answer = run_tests(forward_site, tmp_path / "again")
    assert isinstance(answer, Refusal)
    assert "tests failed" in str(answer)


def test_that_tinybird_local_does_not_answer_proves_nothing(forward_site: Site, tmp_path):
    with pytest.raises(ToolError, match="tb local start") as told:
        run_tests(forward_site, tmp_path / "work", local="http://127.0.0.1:9")
    assert told.value.retryable


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (
            "forward_site",
            "/v0/pipes/busiest_stations",
        ),  # at which tb skips the tests, and ends with 0
        ("forward_site", "/v1/build"),
        ("classic_site", "/v0/(sql|pipes/busiest_stations.json)"),
    ],
)
def test_a_server_in_trouble_proves_nothing(request, name, path, tmp_path):
    site: Site = request.getfixturevalue(name)
    if site.dialect is Dialect.CLASSIC:
        site.stand_in.answer("busiest_stations", [])
        assert isinstance(site.deploy(), Deployed)
    faults = [Fault(method, path, times=50) for method in ("GET", "POST")]
    site.stand_in.faults.requests.extend(faults)
    with pytest.raises(ToolError, match="nothing is proven either way") as told:
        run_tests(site, tmp_path / "work")
    assert told.value.retryable


def test_what_tests_nothing_is_no_proof(site: Site, tmp_path):
    def without(folder: Path) -> None:
        for path in (folder / "tests").iterdir():
            path.unlink()

    answer = run_tests(site, tmp_path / "work", without)
    assert isinstance(answer, Refusal)
    assert "has no tests" in str(answer)


def test_tests_of_a_pipe_that_is_gone_are_no_proof(forward_site: Site, tmp_path):
    answer = run_tests(forward_site, tmp_path / "work", remove("busiest_stations"))
    assert isinstance(answer, Refusal)
    assert "tests/busiest_stations.yaml: tests of a pipe that is not there" in str(answer)


def test_a_missing_token_is_told_by_its_variable(classic_site: Site, tmp_path, monkeypatch):
    monkeypatch.delenv("TB_STAGING_TOKEN")
    with pytest.raises(ConfigError, match="variable TB_STAGING_TOKEN is not set"):
        run_tests(classic_site, tmp_path / "work")
