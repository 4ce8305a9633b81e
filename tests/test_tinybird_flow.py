"""The guide's whole flow by both real command lines, on the stand-in or on the host that is named."""

from __future__ import annotations

import signal
import subprocess

import pytest

from dataops_dagster.settings_tinybird import Tinybird
from dataops_dagster.testing.tinybird import Dialect, Fault
from dataops_dagster.tinybird import deploying
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Refusal
from dataops_dagster.tinybird.site import Order
from tests.tinybird import PIPES, SOURCES, ask
from tests.tinybird_account import Account, open_account

pytestmark = pytest.mark.slow
FORWARD, CLASSIC = Dialect.FORWARD, Dialect.CLASSIC
BOTH = pytest.mark.parametrize("world", list(Dialect), ids=lambda d: d.value, indirect=True)
STAND_IN = pytest.mark.stand_in
__all__ = ["open_account"]


@pytest.fixture
def world(request, open_account) -> Account:
    return open_account(request.param)


@pytest.fixture
def forward(open_account) -> Account:
    return open_account(FORWARD)


@pytest.fixture
def classic(open_account) -> Account:
    return open_account(CLASSIC)


@BOTH
def test_workspaces_are_created_looked_at_listed_and_deleted(world: Account):
    staging, pro = world.named("staging_acme"), world.named("pro_acme")
    for name in (staging, pro):
        words = [*world.cloud, "workspace", "create", name]
        done = world.tb(world.user_token, *words, user_token=world.user_token)
        assert done.returncode == 0
    current = world.tb(world.token(staging), *world.cloud, "workspace", "current")
    assert (current.returncode, staging in current.stdout) == (0, True)
    assert pro not in current.stdout
    listed = world.tb(world.token(staging), *world.cloud, "workspace", "ls")
    assert listed.returncode == 0
    assert staging in listed.stdout
    assert pro in listed.stdout
    old = world.token(pro)
    words = [*world.cloud, "workspace", "delete", pro, "--yes"]
    assert world.tb(world.token(staging), *words, user_token=world.user_token).returncode == 0
    assert pro not in world.listed()
    assert ask(world.host, "GET", f"/{world.version}/workspace", old).status == 403


@BOTH
def test_one_project_serves_two_workspaces_with_rows_of_their_own(world: Account):
    staging, pro = (world.create(name) for name in ("staging_acme", "pro_acme"))
    for name in (staging, pro):
        assert world.serve(name).returncode == 0
        assert world.resources(world.token(name)) == (SOURCES, PIPES)
    world.seed(world.token(staging))
    assert world.rows(world.token(pro)) == (0, 0)
    assert world.serve(staging).returncode == 0  # again: nothing is lost
    assert world.rows(world.token(staging)) == (6, 3)


@BOTH
def test_our_own_deployment_lands_and_finds_no_difference_afterwards(
    world: Account, tmp_path, monkeypatch
):
    name = world.create("ours")
    monkeypatch.setenv("TB_OURS", world.token(name))
    settings = Tinybird(
        host=world.host,
        workspace=name,
        token_variable="TB_OURS",
        executable=world.tb.command,
        dialect=world.dialect.value,
        production=False,
        fixtures="when_empty",
    )

    def order(stage: str) -> Order:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "files").symlink_to(world.project)
        return Order(settings, "ours", "c" * 40, "7" * 40, tmp_path / stage, 600.0, print)

    assert isinstance(done := deploying.deploy(order("first")), Deployed), done
    assert world.resources(world.token(name)) == (SOURCES, PIPES)
    assert world.rows(world.token(name)) == (6, 3)
    again = deploying.plan(order("again"))
    assert isinstance(again, Planned), again
    assert again.plan.operations == ()
    rides = world.project / "datasources" / "rides.datasource"
    rides.write_text(rides.read_text().replace("    `minutes` Int32,\n", "    `minutes` Int64,\n"))
    changed = deploying.plan(order("changed"))
    lost = "minutes: Int32 becomes Int64"
    if isinstance(changed, Refusal):  # a server may refuse the change itself, as Forward's does
        assert "rides" in str(changed)
    else:
        assert [(o.name, o.detail) for o in changed.plan.destructive] == [("rides", lost)]


@BOTH
def test_an_endpoint_answers_and_the_projects_test_passes_and_can_fail(world: Account):
    staging = world.create("staging_acme")
    assert world.serve(staging).returncode == 0
    token = world.token(staging)
    world.seed(token)
    data = world.tb(
        token, *world.cloud, "endpoint" if world.cloud else "pipe", "data", "busiest_stations"
    )
    assert data.returncode == 0
    assert "harbour" in data.stdout
    words = ["--local", "test", "run"] if world.dialect is FORWARD else ["test", "run"]
    if world.stand_in and world.dialect is CLASSIC:
        world.stand_in.answer("busiest_stations", [])  # its test passes when no row is wrong
    assert world.tb(token, *words).returncode == 0
    wrong = next((world.project / "tests").glob("*.yaml"))
    changed = wrong.read_text().replace('"rides":3', '"rides":4').replace("!= 'harbour'", "!= ''")
    wrong.write_text(changed)
    if world.stand_in and world.dialect is CLASSIC:
        world.stand_in.answer("busiest_stations", [{"station": "harbour", "rides": 3}])
    assert world.tb(token, *words).returncode == 1


@BOTH
def test_a_branch_is_created_deployed_to_and_removed(world: Account):
    staging, name = world.create("staging_acme"), world.named("ci_7")
    assert world.serve(staging).returncode == 0
    token = world.token(staging)
    assert world.tb(token, "branch", "create", name, "--wait").returncode == 0
    (branch,) = world.branches(token)
    assert (branch["name"], branch["is_branch"]) == (name, True)
    assert branch["created_at"]
    inner = world.listed(branches=True)[name]["token"]
    (world.project / "endpoints" / "all_stations.pipe").write_text(
        "NODE only\nSQL >\n    SELECT * FROM stations\n\nTYPE endpoint\n"
    )
    if world.dialect is FORWARD:
        assert world.tb(token, f"--branch={name}", "deploy").returncode == 0
    else:
        assert world.tb(inner, "push", "endpoints/all_stations.pipe").returncode == 0
    assert "all_stations" in world.resources(inner)[1]
    assert "all_stations" not in world.resources(token)[1]
    assert world.tb(token, "branch", "rm", name, "--yes").returncode == 0
    assert world.branches(token) == []


def test_forward_checks_deploys_lists_and_finds_nothing_to_do(forward: Account):
    token = forward.token(forward.create("staging_acme"))
    assert forward.tb(token, "--cloud", "deploy", "--check").returncode == 0
    assert forward.resources(token) == (set(), set())
    assert forward.tb(token, "--cloud", "deploy").returncode == 0
    listed = forward.tb(token, "--cloud", "deployment", "ls")
    assert (listed.returncode, "Live" in listed.stdout) == (0, True)
    again = forward.tb(token, "--cloud", "deploy")
    assert (again.returncode, "No changes" in again.stdout) == (0, True)


def test_forward_refuses_a_broken_project_and_serves_what_it_served(forward: Account):
    token = forward.token(forward.create("staging_acme"))
    assert forward.tb(token, "--cloud", "deploy").returncode == 0
    pipe = forward.project / "endpoints" / "long_rides.pipe"
    pipe.write_text("NODE long\nSQL >\n    SELECT * FROM nowhere\n\nTYPE endpoint\n")
    for words in (["deploy", "--check"], ["deploy"]):
        refused = forward.tb(token, "--cloud", *words)
        assert refused.returncode == 1
        assert "endpoints/long_rides.pipe" in refused.stdout + refused.stderr
    assert forward.resources(token) == (SOURCES, PIPES)


@BOTH
def test_a_pipe_that_the_project_dropped_is_deleted_by_forward_and_kept_by_classic(world: Account):
    staging = world.create("staging_acme")
    assert world.serve(staging).returncode == 0
    (world.project / "endpoints" / "long_rides.pipe").unlink()
    assert world.serve(staging).returncode == 0
    token = world.token(staging)
    kept = {"long_rides"} if world.dialect is CLASSIC else set()
    assert world.resources(token)[1] == PIPES - {"long_rides"} | kept
    if kept:
        assert world.tb(token, "pipe", "rm", "long_rides", "--yes").returncode == 0
        assert world.resources(token)[1] == PIPES - {"long_rides"}


def test_classic_fixtures_go_into_an_empty_workspace(classic: Account):
    token = classic.token(classic.create("staging_acme"))
    assert classic.tb(token, "push", "--push-deps", "--fixtures").returncode == 0
    assert classic.rows(token) == (6, 3)


def test_classic_skips_a_changed_pipe_without_force_and_says_success(classic: Account):
    staging = classic.create("staging_acme")
    assert classic.serve(staging).returncode == 0
    token = classic.token(staging)
    pipe = classic.project / "endpoints" / "long_rides.pipe"
    pipe.write_text(pipe.read_text().replace("30", "60"))
    assert classic.tb(token, "push", "--push-deps").returncode == 0
    assert "60" not in ask(classic.host, "GET", "/v1/pipes/long_rides.pipe", token).text
    assert classic.serve(staging).returncode == 0
    assert "60" in ask(classic.host, "GET", "/v1/pipes/long_rides.pipe", token).text


def test_forward_shares_by_the_datafile_and_the_origin_goes_first(forward: Account, tmp_path):
    origin, reader = forward.create("staging_acme"), forward.create("marketing")
    theirs = tmp_path / "theirs"
    (theirs / "endpoints").mkdir(parents=True)
    pipe = f"NODE only\nSQL >\n    SELECT * FROM {origin}.rides\n\nTYPE endpoint\n"
    (theirs / "endpoints" / "their_rides.pipe").write_text(pipe)
    tb = forward.at(theirs).tb
    token = forward.token(reader)
    assert tb(token, "--cloud", "deploy").returncode == 1
    rides = forward.project / "datasources" / "rides.datasource"
    rides.write_text(f"{rides.read_text()}\nSHARED_WITH >\n    {reader}\n")
    assert forward.serve(origin).returncode == 0
    assert tb(token, "--cloud", "pull", "--only-vendored").returncode == 0
    assert list(theirs.rglob("*.datasource"))
    assert tb(token, "--cloud", "deploy").returncode == 0
    assert forward.resources(token)[1] == {"their_rides"}


def test_classic_says_success_when_it_shared_nothing(classic: Account):
    origin, reader = classic.create("staging_acme"), classic.create("marketing")
    rides = classic.project / "datasources" / "rides.datasource"
    rides.write_text(f"{rides.read_text()}\nSHARED_WITH >\n    {reader}\n")
    assert classic.serve(origin).returncode == 0
    token = classic.token(origin)
    path = "/v0/datasources/rides"
    assert not ask(classic.host, "GET", path, token).json["shared_with"]
    told = ask(classic.host, "GET", path, token).json
    form = {
        "origin_workspace_id": classic.listed()[origin]["id"],
        "destination_workspace_id": classic.listed()[reader]["id"],
    }
    share = f"/v0/datasources/{told['id']}/share"
    assert ask(classic.host, "POST", share, classic.user_token, form=form).status == 200
    seen, _ = classic.resources(classic.token(reader))
    assert seen == {f"{origin}.rides"}


# --- what goes wrong; only the stand-in can be told to ------------------------------------------


@STAND_IN
def test_a_classic_push_that_breaks_half_way_is_healed_by_the_next(classic: Account):
    staging = classic.create("staging_acme")
    classic.stand_in.faults.requests.append(Fault("POST", "/v0/pipes", nth=4))
    assert classic.serve(staging).returncode == 1
    sources, pipes = classic.resources(classic.token(staging))
    assert sources == SOURCES
    assert len(pipes) == 3
    assert classic.serve(staging).returncode == 0
    assert classic.resources(classic.token(staging)) == (SOURCES, PIPES)


@STAND_IN
def test_a_forward_deployment_that_fails_late_changes_nothing_and_the_next_lands(forward: Account):
    staging = forward.create("staging_acme")
    assert forward.serve(staging).returncode == 0
    (forward.project / "endpoints" / "long_rides.pipe").unlink()
    forward.stand_in.faults.deployments.append("the disk is full")
    failed = forward.serve(staging)
    assert (failed.returncode, "the disk is full" in failed.stdout + failed.stderr) == (1, True)
    assert forward.resources(forward.token(staging)) == (SOURCES, PIPES)
    assert forward.serve(staging).returncode == 0
    assert forward.resources(forward.token(staging))[1] == PIPES - {"long_rides"}


@STAND_IN
def test_a_forward_deploy_that_is_killed_blocks_until_its_id_is_discarded(forward: Account):
    staging = forward.create("staging_acme")
    token = forward.token(staging)
    forward.stand_in.account.looks = 1_000_000
    environment = forward.tb.environment(token, home=str(forward.project))
    running = subprocess.Popen(
        [forward.tb.command, "--cloud", "deploy"],
        cwd=forward.project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not any(a.path == "/v1/deployments/1" for a in forward.stand_in.requests):
        assert running.poll() is None, running.communicate()
    running.send_signal(signal.SIGTERM)
    running.communicate()
    forward.stand_in.account.looks = 1
    path = "/v1/deployments/1"
    forward.stand_in.workspace(staging).deployments[-1].auto_promote = False
    blocked = forward.serve(staging)
    assert blocked.returncode == 1
    assert ask(forward.host, "DELETE", path, token).status == 200
    assert forward.serve(staging).returncode == 0
    assert forward.resources(token) == (SOURCES, PIPES)


@STAND_IN
@BOTH
def test_the_limit_of_branches_is_an_error_until_one_is_removed(world: Account):
    staging = world.create("staging_acme")
    world.stand_in.account.branch_limit = 1
    token = world.token(staging)
    assert world.tb(token, "branch", "create", "ci_1", "--wait").returncode == 0
    refused = world.tb(token, "branch", "create", "ci_2", "--wait")
    assert (refused.returncode, "limit" in refused.stdout + refused.stderr) == (1, True)
    assert world.tb(token, "branch", "rm", "ci_1", "--yes").returncode == 0
    assert world.tb(token, "branch", "create", "ci_2", "--wait").returncode == 0


@STAND_IN
@BOTH
def test_a_refused_creation_and_a_host_that_is_down_are_errors(world: Account):
    staging = world.create("staging_acme")
    token = world.token(staging)
    world.stand_in.faults.refuse_creation = "see migrate-from-classic"
    words = [*world.cloud, "workspace", "create", "pro_acme"]
    refused = world.tb(world.user_token, *words, user_token=world.user_token)
    assert (refused.returncode, "pro_acme" in world.listed()) == (1, False)
    words = ["--cloud", "deploy"] if world.cloud else ["push"]
    with world.stand_in.down():
        assert world.tb(token, *words).returncode != 0
    assert world.resources(token) == (set(), set())
