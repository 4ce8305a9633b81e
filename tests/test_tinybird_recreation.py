"""A workspace that is dropped and made anew: what is refused, and how each half-done one goes on."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.testing.tinybird import Dialect as Spoken
from dataops_dagster.testing.tinybird import Fault, resources
from dataops_dagster.tinybird import deploying, recreation
from dataops_dagster.tinybird.client import Account
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.journal import Journal, Record
from dataops_dagster.tinybird.model import Listed, Refusal
from dataops_dagster.tinybird.recreation import Step, next_step
from tests.tinybird_site import NAME, TOKEN, USER_TOKEN, Site, classic_site, forward_site, stand_in

pytestmark = pytest.mark.slow

__all__ = ["classic_site", "forward_site", "stand_in"]

BOTH = pytest.mark.parametrize("site", ["forward_site", "classic_site"], indirect=True)
MAY = {"recreate": True, "user_token_variable": USER_TOKEN, "fixtures": "when_empty"}


class Killed(BaseException):
    """Ends a call where it stands; nobody catches it."""


@pytest.fixture
def site(request, monkeypatch) -> Site:
    monkeypatch.setattr(recreation, "POLL_SECONDS", 0.05)
    return request.getfixturevalue(getattr(request, "param", "forward_site"))


def recreate(site: Site, confirmed: str = NAME, **more: object) -> Deployed | Planned | Refusal:
    """Recreate the workspace, as the command does."""
    site.lines.clear()
    with tempfile.TemporaryDirectory() as folder:
        order = site.order(Path(folder), **{**MAY, **more})
        place = recreation.renew(order, confirmed)
        return place if isinstance(place, Refusal) else recreation.refill(order, place)


def refused(answer: object) -> str:
    assert isinstance(answer, Refusal), answer
    return str(answer)


def is_whole(site: Site) -> bool:
    """Say whether the workspace of that name serves the project with its fixtures, once."""
    made = site.stand_in.workspace(NAME)
    counts = [site.stand_in.count(NAME, name) for name in ("rides", "stations")]
    return made.id != site.workspace.id and len(made.resources) == 8 and counts == [6, 3]


# --- what is next: pure -------------------------------------------------------------------------

OLD, NEW = Listed("1", NAME, ""), Listed("2", NAME, "")


@pytest.mark.parametrize(
    ("found", "old", "pinned", "step"),
    [
        (OLD, "", None, Step.DROP),
        (OLD, "", "1", Step.DROP),
        (OLD, "1", "1", Step.DROP),
        (None, "1", "1", Step.CREATE),
        (None, "", None, Step.CREATE),
        (NEW, "1", "1", Step.GO_ON),
        (NEW, "1", None, Step.GO_ON),
        (NEW, "none", None, Step.GO_ON),
        (NEW, "", None, Step.DROP),
    ],
)
def test_what_is_next_follows_from_what_stands_there(found, old, pinned, step):
    assert next_step(found, old, pinned) is step


def test_one_that_was_made_anew_by_others_is_not_dropped_where_the_id_is_pinned():
    assert "1 is pinned" in refused(next_step(NEW, "", "1"))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confirmed", "more", "told"),
    [
        (NAME, {"production": True}, "production is never dropped"),
        (NAME, {"recreate": False}, "set workspaces.staging.tinybird.recreate: true"),
        ("staging", {}, f"{NAME} was not confirmed"),
        ("", {}, f"{NAME} was not confirmed"),
        (NAME, {"workspace_id": "0a1b2c"}, "0a1b2c is pinned"),
    ],
)
def test_nothing_is_dropped_that_may_not_be(site: Site, confirmed, more, told):
    assert told in refused(recreate(site, confirmed, **more))
    assert site.stand_in.workspace(NAME) is site.workspace
    assert not site.asked("DELETE", "/v1/workspaces/")


def test_nothing_is_dropped_without_a_user_token(site: Site, monkeypatch):
    with pytest.raises(ConfigError, match="user_token_variable"):
        recreate(site, user_token_variable=None)
    monkeypatch.delenv(USER_TOKEN)
    with pytest.raises(ConfigError, match=f"{USER_TOKEN} is not set"):
        recreate(site)
    assert not site.asked("DELETE", "/v1/workspaces/")


def test_nothing_is_dropped_when_the_token_leads_elsewhere(site: Site, monkeypatch):
    monkeypatch.setenv(TOKEN, site.stand_in.create_workspace("pro_acme").token)
    assert "belongs to workspace pro_acme" in refused(recreate(site))
    assert not site.asked("DELETE", "/v1/workspaces/")


@pytest.mark.slow
def test_the_workspace_of_another_data_project_is_not_dropped(site: Site):
    site.deploy()
    account = site.stand_in.account
    for name, found in list(site.workspace.datasources.items()):
        theirs = replace(found, name=f"their_{name}")
        resources.put_datasource(account, site.workspace, theirs)
    for name in set(site.served):
        if not name.startswith("their_"):
            resources.remove(account, site.workspace, name)
    assert "it is another project's" in refused(recreate(site))
    assert not site.asked("DELETE", "/v1/workspaces/")


@pytest.mark.slow
def test_nothing_is_dropped_that_the_commit_cannot_refill(site: Site):
    with tempfile.TemporaryDirectory() as folder, pytest.raises(ConfigError, match="no folder"):
        recreation.renew(site.order(Path(folder), **MAY, path="elsewhere"), NAME)
    with pytest.raises(ConfigError, match="cannot be started"):
        recreate(site, executable="/no/such/tb")
    assert not site.asked("DELETE", "/v1/workspaces/")


@pytest.mark.slow
def test_nothing_is_dropped_of_classic_where_none_could_be_made(classic_site: Site):
    classic_site.stand_in.faults.refuse_creation = "see migrate-from-classic"
    assert "nothing is dropped, as none could be made" in refused(recreate(classic_site))
    assert classic_site.stand_in.workspace(NAME) is classic_site.workspace
    assert not classic_site.asked("DELETE", "/")


# --- what is done -------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
def test_a_workspace_is_dropped_made_anew_deployed_and_seeded(site: Site):
    site.deploy(fixtures="when_empty")
    journal = Journal.of(site.stand_in.url, site.workspace.id)
    assert journal.path.exists()
    answer = recreate(site)
    assert isinstance(answer, Deployed), answer
    assert is_whole(site)
    assert [w.name for w in site.stand_in.account.mains()] == [NAME]
    assert not journal.path.exists()
    assert Record.of(site.settings()).old == ""


@pytest.mark.slow
def test_an_inconsistent_workspace_whose_token_is_dead_is_made_anew(
    classic_site: Site, monkeypatch
):
    classic_site.stand_in.faults.requests.append(Fault("POST", "/v0/pipes", nth=3, times=50))
    with pytest.raises(ToolError, match="INCONSISTENT"):
        classic_site.deploy()
    classic_site.stand_in.faults.requests.clear()
    monkeypatch.setenv(TOKEN, "p.dead.token")
    assert isinstance(recreate(classic_site), Deployed)
    assert is_whole(classic_site)


# --- killed between each two steps --------------------------------------------------------------

POINTS = [
    "before drop",
    "after drop",
    "before create",
    "after create",
    "before deploy",
    "after deploy",
]
PLACES = {
    "drop": (Account, "delete"),
    "create": (Account, "create"),
    "deploy": (deploying, "deploy"),
}


@pytest.mark.slow
@pytest.mark.parametrize("pinned", ["pinned", "not pinned"])
@pytest.mark.parametrize("point", POINTS)
def test_a_recreation_that_was_killed_anywhere_is_ended_by_the_next_call(
    site: Site, monkeypatch, point, pinned
):
    site.deploy(fixtures="when_empty")
    more = {"workspace_id": site.workspace.id} if pinned == "pinned" else {}
    when, what = point.split()
    owner, name = PLACES[what]
    real = getattr(owner, name)

    def killed(*given: object) -> object:
        if when == "after":
            real(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            recreate(site, **more)
    answer = recreate(site, **more)
    assert isinstance(answer, Deployed), answer
    assert is_whole(site)
    dropped = site.asked("DELETE", "/v1/workspaces/")
    assert dropped == [f"/v1/workspaces/{site.workspace.id}"]  # once, and none that was made anew


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/workspaces/.*"), ("POST", "/v1/workspaces"), ("POST", "/v1/deploy")],
)
def test_a_server_that_fails_at_a_step_is_told_and_the_next_call_goes_on(site: Site, method, path):
    site.deploy()
    site.stand_in.faults.requests.append(Fault(method, path, times=50))
    try:
        told = refused(recreate(site))
    except ToolError as error:
        told = str(error)
    assert "hint" in told or "500" in told
    site.stand_in.faults.requests.clear()
    assert isinstance(recreate(site), Deployed)
    assert is_whole(site)


@pytest.mark.slow
def test_fixtures_that_broke_off_are_appended_once(site: Site):
    site.stand_in.faults.requests.append(Fault("POST", "/v1/datasources/.*", times=50))
    assert "was not appended" in refused(recreate(site))
    site.stand_in.faults.requests.clear()
    assert isinstance(recreate(site), Deployed)
    assert is_whole(site)


@pytest.mark.parametrize("site", ["classic_site"], indirect=True)
def test_a_workspace_called_as_our_probe_is_not_deleted_when_it_holds_something(site: Site):
    site.deploy()
    theirs = site.stand_in.create_workspace(f"{NAME}_dataops_probe", Spoken.CLASSIC)
    resources.put_datasource(site.stand_in.account, theirs, site.workspace.datasources["rides"])
    assert "is in the way: it holds something" in refused(recreate(site))
    assert not site.asked("DELETE", "/v1/workspaces/")


@pytest.mark.slow
def test_a_workspace_that_is_just_deployed_to_is_not_dropped(site: Site):
    site.deploy()
    journal = Journal.of(site.stand_in.url, site.workspace.id)
    with journal.locked("the deployment"), pytest.raises(ToolError, match="is under way"):
        recreate(site)
    assert not site.asked("DELETE", "/v1/workspaces/")


@pytest.mark.slow
def test_a_deployment_by_hand_ends_a_recreation_that_broke_off(site: Site, monkeypatch):
    site.deploy()
    with monkeypatch.context() as patch:
        patch.setattr(recreation, "refill", lambda *_: None)
        recreate(site)
    assert Record.of(site.settings()).old == site.workspace.id
    monkeypatch.setenv(TOKEN, site.stand_in.workspace(NAME).token)
    assert isinstance(site.deploy(), Deployed)
    assert Record.of(site.settings()).old == ""


def test_two_recreations_do_not_work_side_by_side(site: Site):
    with Record.of(site.settings()).locked(), pytest.raises(ToolError, match="already"):
        recreate(site)
    assert site.dialect is Dialect.FORWARD
