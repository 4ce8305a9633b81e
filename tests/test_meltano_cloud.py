"""A deployment by Meltano Cloud is the right workspace's, at the right commit, and ends as its job does."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster import config, exchange, execution, process
from dataops_dagster.errors import ConfigError, DataOpsError, ToolError
from dataops_dagster.meltano_cloud import following
from dataops_dagster.meltano_cloud.api import Api
from dataops_dagster.meltano_cloud.identity import judge
from dataops_dagster.meltano_cloud.login import TokenLogin
from dataops_dagster.meltano_cloud.model import job_of, workspace_of
from dataops_dagster.model import Outcome
from dataops_dagster.platforms import Result
from dataops_dagster.platforms import meltano_cloud as platform
from tests import meltano_cloud as standin
from tests.conftest import SHOP, Shop
from tests.dagster_shop import DagsterShop
from tests.meltano_cloud import (
    CLIENT_ID,
    CLIENT_SECRET,
    DEPLOY_KEY,
    TOKEN,
    WEBHOOK_SECRET,
    Course,
    MeltanoCloud,
    says,
)

pytestmark = pytest.mark.slow

VARIABLE = "MELTANO_CLOUD_TOKEN"
NAME = "My Workspace"


@pytest.fixture
def cloud(monkeypatch) -> Iterator[MeltanoCloud]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)
    with standin.serving() as server:
        yield server


@pytest.fixture
def api(cloud: MeltanoCloud) -> Api:
    return Api(cloud.url, TokenLogin(VARIABLE))


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(exchange, "REQUEST_SECONDS", 0.5)


def configured(shop: Shop, cloud: MeltanoCloud, **more: str) -> Shop:
    """Let production be deployed by the stand-in, in which its workspace is."""
    step = {"platform": "meltano_cloud", "workspace": NAME, "url": cloud.url, "deadline": "1m"}
    told = ", ".join(f"{key}: {value}" for key, value in {**step, **more}.items())
    before = "{platform: command, command: [sh, deploy.sh], deadline: 1m}"
    path = shop.root / "dataops.yaml"
    path.write_text(SHOP.replace(before, f"{{{told}}}"))
    shop.project = config.load(path)
    return shop


@pytest.fixture
def deployed(running_shop: Shop, cloud: MeltanoCloud) -> Shop:
    cloud.add(NAME, running_shop.prod.url)
    return configured(running_shop, cloud)


def deploy(shop: Shop, commit: str | None = None) -> tuple[Result, list[str]]:
    """Deploy production as the op does; returns its result and its lines."""
    lines: list[str] = []
    prod = shop.project.workspaces["prod"]
    assert prod.deploy
    result, _ = execution.execute(
        shop.project,
        prod,
        prod.deploy,
        commit=execution.pin(shop.project, prod, commit, store=shop.store),
        run_id="run-1",
        store=shop.store,
        on_line=lines.append,
    )
    return result, lines


# --- a deployment -----------------------------------------------------------------------------


def test_a_deployment_that_completes_has_passed_and_its_log_was_told_line_by_line(deployed, cloud):
    cloud.course = Course(lines=("one", "two", "three", "four"), looks=3)
    result, lines = deploy(deployed)
    assert result.outcome is Outcome.PASSED
    assert result.detail.endswith("ended as COMPLETE, exit code 0")
    assert lines[1:] == ["one", "two", "three", "four"]
    assert NAME in lines[0]
    assert len(cloud.asked("POST")) == 1


@pytest.mark.parametrize(
    ("course", "ending"),
    [
        (Course("ERROR", 1, ("installing", "no such plug-in")), "ERROR, exit code 1: installing"),
        (Course("ERROR", None, ()), "ERROR"),
        (Course("STOPPED", 143, ()), "STOPPED, exit code 143"),
        (Course("COMPLETE", 2, ("half",)), "COMPLETE, exit code 2: half"),
    ],
)
def test_a_job_that_does_not_end_well_is_a_failure_that_says_how(deployed, cloud, course, ending):
    cloud.course = course
    result, lines = deploy(deployed)
    assert result.outcome is Outcome.FAILED
    assert f"ended as {ending}" in result.detail
    assert lines[1:] == list(course.lines)


def test_an_ending_that_is_not_known_is_no_answer(deployed, cloud):
    cloud.course = Course("VANISHED", None)
    result, _ = deploy(deployed)
    assert result.outcome is Outcome.ERRORED
    assert "ended as VANISHED" in result.detail


def test_a_job_that_never_ends_is_stopped_at_the_deadline(running_shop, cloud):
    cloud.add(NAME, running_shop.prod.url)
    cloud.course = Course(looks=10**6)
    shop = configured(running_shop, cloud, deadline="1s")
    result, _ = deploy(shop)
    assert result.outcome is Outcome.FAILED
    assert "was stopped at its deadline of 0:00:01" in result.detail
    assert [job["status"] for job in cloud.state.jobs.values()] == ["STOPPED"]


def test_a_job_that_cannot_be_stopped_is_said_to_be_left(running_shop, cloud):
    cloud.add(NAME, running_shop.prod.url)
    cloud.course = Course(looks=10**6)
    cloud.fails(says(409, "it is not running"), "PUT /jobs")
    result, _ = deploy(configured(running_shop, cloud, deadline="1s"))
    assert "could not be stopped at its deadline" in result.detail


def test_a_deployment_that_somebody_cancels_is_stopped(api, cloud):
    id_ = cloud.add(NAME, "")
    cloud.course = Course(lines=("one", "two", "three"), looks=10**6)

    def cancel(line: str) -> None:
        if line == "one":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        platform.deploy(api, api.workspace(id_), deadline=timedelta(minutes=1), on_line=cancel)
    assert [job["status"] for job in cloud.state.jobs.values()] == ["STOPPED"]


def test_a_platform_that_deployed_another_commit_is_no_success(deployed, cloud):
    cloud.course = Course(commit="f" * 40)
    result, _ = deploy(deployed)
    assert result.outcome is Outcome.ERRORED
    assert f"says that it deployed {'f' * 40} instead" in result.detail


def test_only_the_head_can_be_deployed_as_the_platform_takes_no_commit(deployed, cloud):
    before = deployed.prod.head
    deployed.prod.commit({"new.txt": "x\n"}, "Past the gate")
    with pytest.raises(ConfigError, match="can only deploy the head of branch main"):
        deploy(deployed, before)
    assert not cloud.requests


def test_a_log_of_several_pages_is_told_once_and_whole(deployed, cloud):
    cloud.course = Course(lines=tuple(f"line {n}" for n in range(200)), looks=20)
    _, lines = deploy(deployed)
    assert lines[1:] == list(cloud.course.lines)
    assert len(cloud.asked("GET /jobs/.*/logs")) > 10


def test_lines_of_a_log_cannot_steer_who_reads_them(deployed, cloud):
    cloud.course = Course("ERROR", 1, ("\x1b[31mred\x1b]0;t\x07 \u202eevil\r", f"token={TOKEN}"))
    result, lines = deploy(deployed)
    assert lines[1:] == ["[31mred]0;t evil", "token=*****"]
    assert result.detail.isprintable()
    assert TOKEN not in result.detail


def test_a_line_of_a_log_that_is_too_long_is_cut(deployed, cloud):
    cloud.course = Course(lines=("x" * 50_000,))
    _, lines = deploy(deployed)
    assert [len(line) for line in lines[1:]] == [10_000]


def test_a_log_that_cannot_be_read_spoils_no_deployment(deployed, cloud):
    cloud.fails(says(403, "no logs for you"), "GET /jobs/.*/logs")
    result, lines = deploy(deployed)
    assert result.outcome is Outcome.PASSED
    told = "the login may not do that: no logs for you"
    assert lines[1:] == [f"the job's log could not be read: {told}"]


def test_a_server_that_is_out_of_order_while_the_job_runs_is_asked_again(deployed, cloud):
    cloud.fails(says(503, "maintenance"), "GET /jobs/[^/]*$", times=7)
    result, _ = deploy(deployed)
    assert result.outcome is Outcome.PASSED


def test_a_server_that_stays_out_of_order_is_no_answer_about_the_job(running_shop, cloud):
    cloud.add(NAME, running_shop.prod.url)
    cloud.fails(says(503, "maintenance"), "GET /jobs/[^/]*$")
    with pytest.raises(ToolError, match="maintenance") as told:
        deploy(configured(running_shop, cloud, deadline="1s"))
    assert told.value.retryable


def test_a_token_that_expires_while_the_job_runs_is_told_at_once(deployed, cloud):
    cloud.fails(says(401), "GET /jobs/[^/]*$")
    with pytest.raises(ToolError, match="the login is not valid") as told:
        deploy(deployed)
    assert not told.value.retryable
    assert len(cloud.asked("GET /jobs")) == 1


# --- whose deployment -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (
            {"repositoryUrl": "file:///elsewhere.git"},
            "is another repository: file:///elsewhere.git",
        ),
        ({"repositoryUrl": ""}, "is another repository: none is told"),
        ({"repositoryBranch": "release"}, "is deployed from branch release"),
        ({"defaultEnvironment": "dev"}, "the active environment of “My Workspace” is dev"),
    ],
)
def test_a_workspace_that_is_not_ours_is_not_deployed(deployed, cloud, told, problem):
    (workspace,) = cloud.state.workspaces.values()
    workspace |= told
    with pytest.raises(ConfigError, match=problem):
        deploy(deployed)
    assert not cloud.asked("POST")


def test_a_workspace_that_is_not_there_is_not_deployed(running_shop, cloud):
    with pytest.raises(ConfigError, match="there is no “My Workspace”"):
        deploy(configured(running_shop, cloud))


def test_a_name_that_several_have_is_not_guessed_at(deployed, cloud):
    other = cloud.add(NAME, "file:///other.git")
    with pytest.raises(ConfigError, match="several are called “My Workspace”") as told:
        deploy(deployed)
    assert other in str(told.value)


def test_a_workspace_may_be_named_by_its_id(running_shop, cloud):
    cloud.add(NAME, "file:///other.git")
    id_ = cloud.add(NAME, running_shop.prod.url)
    result, _ = deploy(configured(running_shop, cloud, workspace=id_))
    assert result.passed
    assert cloud.asked("POST") == [f"POST /workspaces/{id_}/deployments"]


def test_an_environment_that_is_not_told_is_to_be_looked_at_by_hand(deployed, cloud):
    cloud.tells = False
    result, lines = deploy(deployed)
    assert result.passed
    assert "see that it is prod, in the app" in lines[0]


def test_one_workspace_for_two_of_a_project_is_found_behind_a_name_and_an_id(deployed, cloud):
    (id_,) = cloud.state.workspaces
    path = deployed.root / "dataops.yaml"
    more = (
        f"    deploy: {{platform: meltano_cloud, workspace: {id_}, url: '{cloud.url}'}}\n  prod:\n"
    )
    path.write_text(path.read_text().replace("  prod:\n", more))
    deployed.project = config.load(path)
    with pytest.raises(ConfigError, match="is also what staging is deployed to"):
        deploy(deployed)


@pytest.mark.parametrize(
    "spelled",
    [
        "git@github.com:MatatikaBytes/My-Workspace-setarqi",
        "https://github.com/MatatikaBytes/My-Workspace-setarqi.git",
        "ssh://git@github.com/MatatikaBytes/My-Workspace-setarqi/",
        "https://x-access-token:ghs_secret@GitHub.com/MatatikaBytes/My-Workspace-setarqi",
    ],
)
def test_a_repository_is_the_same_however_its_url_is_spelled(tmp_path, spelled):
    path = tmp_path / "dataops.yaml"
    path.write_text(
        "project: shop\nworkspaces:\n  prod:\n"
        "    repository: git@github.com:MatatikaBytes/My-Workspace-setarqi\n"
        "    environment: prod\n"
        "    deploy: {platform: meltano_cloud, workspace: My Workspace}\n"
    )
    project = config.load(path)
    cloud = workspace_of({"id": "1", "name": NAME, "repositoryUrl": spelled})
    assert cloud
    standing = judge(project, project.workspaces["prod"], [cloud])
    assert not standing.problems
    assert "ghs_secret" not in repr(standing)


# --- the calls --------------------------------------------------------------------------------


def test_a_workspace_is_made_and_waited_for(api, cloud):
    made = api.create("My Workspace (dev)")
    assert made.status == "PROVISIONING"
    ready = following.wait(api, made, seconds=20)
    assert (ready.status, ready.name) == ("READY", "My Workspace (dev)")
    assert ready.repository == "https://github.com/MatatikaBytes/my-workspace-(dev)-kklcdol"
    assert cloud.asked("P") == ["POST /workspaces", f"PUT /workspaces/{made.id}"]
    assert [b for _, _, b in cloud.requests if b] == [b'{"name": "My Workspace (dev)"}']


def test_a_workspace_that_cannot_be_made_ready_is_not_waited_for_longer(api, cloud):
    cloud.makes_it = "FAILED"
    assert following.wait(api, api.create("x"), seconds=20).status == "FAILED"


def test_a_workspace_is_waited_for_until_the_deadline(api, cloud):
    cloud.makes = 10**6
    assert following.wait(api, api.create("x"), seconds=0.1).status == "PROVISIONING"


def test_an_account_without_workspaces_has_none(api):
    assert api.workspaces() == []


def test_a_list_that_comes_in_pages_is_read_whole_and_one_that_repeats_itself_ends(api, cloud):
    """Source: <https://docs.meltano.com/reference/cloud/api/links>."""
    next_page = {"next": {"href": "https://elsewhere.example/api/workspaces?page=1"}}
    first = {"_embedded": {"workspaces": [{"id": "a", "name": "a"}]}, "_links": next_page}
    second = {"_embedded": {"workspaces": [{"id": "b", "name": "b"}]}, "_links": next_page}
    for n, page in enumerate((first, second, second)):
        request = rf"GET /workspaces\?page={n}" if n else "GET /workspaces$"
        cloud.fails(lambda h, page=page: h.answer(200, page), request)
    assert [w.id for w in api.workspaces()] == ["a", "b"]
    assert len(cloud.requests) == 3


@pytest.mark.parametrize("links", ["7", "null", "[]", '"next"', '{"next": null}'])
def test_links_that_are_none_end_a_list(api, cloud, links):
    cloud.fails(standin.replies(f'{{"_links": {links}}}'.encode()))
    assert api.workspaces() == []


def test_a_log_that_has_no_end_is_not_read_for_ever(deployed, cloud, monkeypatch):
    monkeypatch.setattr(following, "_LAST_READS_SECONDS", 0.2)
    cloud.fails(standin.replies(b"again\n", "text/plain"), "GET /jobs/.*/logs")
    result, lines = deploy(deployed)
    assert result.passed
    assert lines[1:3] == ["again", "again"]


def test_a_server_that_fails_twice_is_asked_a_third_time(api, cloud):
    cloud.fails(says(500, "oops"), "GET", times=2)
    assert api.workspaces() == []
    assert len(cloud.requests) == 3


def test_a_deployment_is_not_asked_for_twice_when_it_may_be_under_way(api, cloud):
    id_ = cloud.add(NAME, "")
    cloud.fails(says(502, "bad gateway"), "POST")
    with pytest.raises(ToolError, match="bad gateway") as told:
        api.deploy(id_)
    assert told.value.retryable
    assert len(cloud.requests) == 1


def test_a_deployment_is_asked_for_again_when_the_server_says_not_now(api, cloud):
    id_ = cloud.add(NAME, "")
    cloud.fails(says(503), "POST", times=2)
    assert api.deploy(id_).status == "QUEUED"
    assert len(cloud.state.jobs) == 1


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (401, "the login is not valid", "put a fresh token into MELTANO_CLOUD_TOKEN"),
        (403, "may not do that", "owner or administrator"),
        (404, "Workspace x not found", ""),
        (409, "Workspace x not found", ""),
    ],
)
def test_a_refusal_is_told_and_not_asked_for_again(api, cloud, status, said, hint):
    cloud.fails(says(status, "Workspace x not found"))
    with pytest.raises(ToolError) as told:
        api.workspace("x")
    assert said in str(told.value)
    assert hint in told.value.hint
    assert not told.value.retryable
    assert told.value.code == status
    assert len(cloud.requests) == 1


def test_a_redirect_is_not_followed_and_the_token_does_not_leave(api, cloud):
    with standin.serving() as other:
        cloud.fails(standin.redirects(f"{other.url}/workspaces"))
        with pytest.raises(ToolError, match="a token must not follow"):
            api.workspaces()
        assert not other.requests


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("fault", [standin.never, standin.drips])
def test_a_server_that_does_not_come_to_an_end_is_an_error_within_the_deadline(api, cloud, fault):
    cloud.fails(fault)
    with pytest.raises(ToolError, match="no answer within") as told:
        api.workspaces()
    assert told.value.retryable


def test_an_answer_without_an_end_is_cut(api, cloud, monkeypatch):
    monkeypatch.setattr(exchange, "ANSWER_LIMIT_BYTES", 1_000_000)
    cloud.fails(standin.floods)
    with pytest.raises(ToolError, match="answers more than 1000000 bytes"):
        api.workspaces()


def test_a_server_that_hangs_up_is_worth_another_try(api, cloud):
    cloud.fails(standin.hangs_up, times=1)
    assert api.workspaces() == []


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Log in</html>",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"7",
        b"[]",
        b"null",
        b'{"_embedded": 1}',
        b'{"_embedded": {"workspaces": {}}}',
        b'{"_embedded": {"workspaces": 7}, "_links": 7}',
    ],
)
def test_an_answer_that_is_not_the_apis_is_an_error(api, cloud, content):
    cloud.fails(standin.replies(content))
    with pytest.raises(ToolError, match=r"not JSON|not what the API's documentation says"):
        api.workspaces()


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"id": "../../profiles", "status": "QUEUED"},
        {"id": 7, "status": "QUEUED"},
        {"id": "a", "status": None},
        [],
        None,
        "x",
    ],
)
def test_a_job_that_is_none_is_not_taken_for_one(told):
    assert job_of(told) is None


def test_links_of_an_answer_are_not_followed(deployed, cloud):
    deploy(deployed)
    assert {line.split()[1].split("/")[1] for line in cloud.asked()} == {"workspaces", "jobs"}


# --- the token --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "line\nbreak", "schlüssel"])
def test_a_variable_without_a_token_is_a_mistake_of_the_user(api, cloud, monkeypatch, value):
    monkeypatch.delenv(VARIABLE)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match="the environment variable MELTANO_CLOUD_TOKEN") as told:
        api.workspaces()
    assert not value or not value.strip() or value not in str(told.value)
    assert not cloud.requests


def test_a_token_is_taken_without_the_line_break_of_its_file(api, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"{TOKEN}\n")
    assert api.workspaces() == []


SECRETS = (TOKEN, WEBHOOK_SECRET, DEPLOY_KEY)


def everything(error: BaseException) -> str:
    """Return all that a log would show of an error."""
    return "".join(traceback.format_exception(error)) + repr(vars(error))


@pytest.mark.parametrize(
    "fault",
    [
        says(401, f"Bearer {TOKEN} is not valid"),
        says(400, f"Bearer {TOKEN} is malformed"),
        standin.replies(TOKEN.encode()),
        standin.replies(f'{{"workspaces": "{DEPLOY_KEY}"}}'.encode()),
        standin.redirects(f"https://evil.example/?{TOKEN}"),
        standin.hangs_up,
    ],
)
def test_no_error_holds_a_secret(deployed, cloud, fault):
    cloud.fails(fault)
    with pytest.raises(DataOpsError) as told:
        deploy(deployed)
    assert not [secret for secret in SECRETS if secret in everything(told.value)]


def test_no_value_and_no_file_holds_a_secret(deployed: Shop, cloud, tmp_path: Path):
    cloud.course = Course("ERROR", 1, (f"export TOKEN={TOKEN}",))
    result, lines = deploy(deployed)
    listed = Api(cloud.url, TokenLogin(VARIABLE)).workspaces()
    assert not [s for s in SECRETS if s in f"{result} {lines} {listed}"]
    files = [p for root in (tmp_path, deployed.root) for p in root.rglob("*") if p.is_file()]
    assert not [p for p in files if any(s.encode() in p.read_bytes() for s in SECRETS)]
    assert not any(TOKEN in line for line in cloud.asked())


def test_no_process_is_started_that_could_see_the_token(deployed, monkeypatch):
    seen: list[str] = []
    run = process.run

    def watched(command, *, env, **more):
        seen.append(f"{command} {env}")
        return run(command, env=env, **more)

    monkeypatch.setattr(process, "run", watched)
    assert deploy(deployed)[0].passed
    assert TOKEN in os.environ[VARIABLE]
    assert not [line for line in seen if TOKEN in line]


# --- an API key -------------------------------------------------------------------------------

KEY = {"client_id_variable": "CLOUD_ID", "client_secret_variable": "CLOUD_SECRET"}


@pytest.fixture
def with_key(running_shop: Shop, cloud, monkeypatch) -> Shop:
    """Production is deployed with an API key; no token is set."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("CLOUD_ID", CLIENT_ID)
    monkeypatch.setenv("CLOUD_SECRET", CLIENT_SECRET)
    cloud.add(NAME, running_shop.prod.url)
    return configured(running_shop, cloud, identity_url=cloud.identity_url, **KEY)


def test_an_api_key_is_good_for_a_token_that_is_used_until_it_expires(with_key, cloud):
    assert deploy(with_key)[0].passed
    assert deploy(with_key)[0].passed
    assert cloud.asked("POST /oauth") == ["POST /oauth/token"]
    assert not [body for line, _, body in cloud.requests if "oauth" not in line and body]
    assert {given for line, given, _ in cloud.requests if "oauth" in line} == {None}


def test_a_token_that_is_about_to_expire_is_replaced(with_key, cloud):
    cloud.lasts = 30
    assert deploy(with_key)[0].passed
    assert len(cloud.asked("POST /oauth")) > 1


def test_a_key_that_was_replaced_is_good_for_a_token_of_its_own(with_key, cloud, monkeypatch):
    deploy(with_key)
    monkeypatch.setenv("CLOUD_SECRET", "another")
    cloud.client_secret, cloud.token = "another", "another-token"
    assert deploy(with_key)[0].passed


@pytest.mark.parametrize(
    "fault",
    [
        None,
        standin.replies(b"{}"),
        standin.replies(b"[]"),
        standin.replies(b'{"access_token": "two words"}'),
        standin.redirects("https://evil.example/"),
        says(500, f"{CLIENT_SECRET} is not liked"),
    ],
)
def test_a_key_that_is_good_for_nothing_is_an_error_without_it(with_key, cloud, fault):
    cloud.client_secret = "changed"
    if fault:
        cloud.fails(fault, "POST /oauth")
    with pytest.raises(ToolError, match="/oauth/token") as told:
        deploy(with_key)
    assert CLIENT_SECRET not in everything(told.value)
    assert "check the API key in CLOUD_ID and CLOUD_SECRET" in told.value.hint or fault


def test_half_of_an_api_key_is_a_mistake(running_shop, cloud):
    with pytest.raises(ConfigError, match="names one half of an API key"):
        configured(running_shop, cloud, client_id_variable="CLOUD_ID")


def test_a_token_of_an_api_key_is_in_no_line(with_key, cloud):
    cloud.course = Course("ERROR", 1, (f"{TOKEN} {CLIENT_SECRET}",))
    result, lines = deploy(with_key)
    assert lines[1:] == ["***** *****"]
    assert TOKEN not in result.detail


# --- in Dagster -------------------------------------------------------------------------------


@pytest.fixture
def dagster_shop(deployed: Shop) -> Iterator[DagsterShop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(deployed, instance)


def test_a_change_travels_to_production_and_is_deployed_by_the_platform(dagster_shop, cloud):
    shop = dagster_shop.shop
    shop.dev.commit({"pipeline.yml": "source: users\ntarget: lake\n"}, "Load into a lake")
    done = dagster_shop.settle()
    assert shop.prod.tree() == shop.dev.tree()
    assert [key for key in done if "deploy" in key]
    deployments = cloud.asked("POST")
    (id_,) = cloud.state.workspaces
    assert set(deployments) == {f"POST /workspaces/{id_}/deployments"}
    latest = dagster_shop.latest("shop", "prod", "deployment")
    assert latest
    assert latest.metadata["dataops/outcome"].value == "deployed"
    assert latest.metadata["dataops/commit"].value == shop.prod.head
    assert "ended as COMPLETE" in latest.metadata["dataops/detail"].value
    (last,) = [job for job in cloud.state.jobs.values() if job["commitId"] == shop.prod.head]
    assert last["status"] == "COMPLETE"
    assert dagster_shop.settle() == []
    assert cloud.asked("POST") == deployments


def test_a_deployment_that_fails_is_not_asked_for_again_and_its_log_is_in_dagsters(
    dagster_shop, cloud, capfd
):
    cloud.course = Course("ERROR", 1, ("installing", f"no plug-in for {TOKEN}"))
    dagster_shop.settle()
    assert len(cloud.asked("POST")) == 1
    assert dagster_shop.latest("shop", "prod", "deployment") is None
    logged = capfd.readouterr()
    assert "no plug-in for *****" in logged.out + logged.err
    assert TOKEN not in logged.out + logged.err
    stored = "".join(
        repr(record)
        for run in dagster_shop.instance.get_runs()
        for record in dagster_shop.instance.all_logs(run.run_id)
    )
    assert "ended as ERROR, exit code 1" in stored
    assert not [secret for secret in SECRETS if secret in stored]


def test_a_run_that_died_after_it_asked_is_followed_by_another_deployment(dagster_shop, cloud):
    cloud.fails(standin.hangs_up, "GET /jobs", times=1)
    cloud.fails(says(404, "Job not found"), "GET /jobs", times=1)
    dagster_shop.settle()
    assert len(cloud.asked("POST")) == 2
    latest = dagster_shop.latest("shop", "prod", "deployment")
    assert latest
    assert latest.metadata["dataops/outcome"].value == "deployed"
