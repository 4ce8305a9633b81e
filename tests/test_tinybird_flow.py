"""The guide's whole flow by both real command lines, on the stand-in or on the host that is named."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dataops_dagster.settings_tinybird import Tinybird
from dataops_dagster.testing.tinybird import Dialect, Fault, StandIn
from dataops_dagster.tinybird import deploying
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Refusal
from dataops_dagster.tinybird.site import Order
from tests.tinybird import Tb, ask, make_project

pytestmark = pytest.mark.slow
FORWARD, CLASSIC = Dialect.FORWARD, Dialect.CLASSIC
BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda d: d.value, indirect=True)
PIPES = {"busiest_stations", "count_rides", "long_rides", "rides_by_day", "rides_by_district"}
SOURCES = {"rides", "rides_per_day", "stations"}
BUSIEST = [("harbour", 3), ("market", 2), ("castle", 1)]


@dataclass
class World:
    """A host, the user's token for it, the data project and the command line of one dialect."""

    host: str
    user_token: str = field(repr=False)
    dialect: Dialect
    tb: Tb
    project: Path
    stand_in: StandIn | None
    prefix: str
    names: list[str] = field(default_factory=list)

    @property
    def cloud(self) -> list[str]:
        """What Forward needs to look beyond this machine."""
        return ["--cloud"] if self.dialect is FORWARD else []

    @property
    def version(self) -> str:
        return "v1" if self.dialect is FORWARD else "v0"

    def listed(self) -> dict[str, dict]:
        """Return the account's workspaces by name."""
        path = f"/{self.version}/user/workspaces"
        told = ask(self.host, "GET", path, self.user_token, with_environments="false").json
        return {workspace["name"]: workspace for workspace in told["workspaces"]}

    def create(self, name: str) -> str:
        """Create a workspace; returns its name, which no other test has."""
        full = f"{self.prefix}{name}"
        self.names.append(full)
        path = f"/{self.version}/workspaces"
        assert ask(self.host, "POST", path, self.user_token, name=full).status == 200
        return full

    def delete(self, name: str) -> None:
        """Delete a workspace."""
        path = f"/{self.version}/workspaces/{self.listed()[name]['id']}"
        assert ask(self.host, "DELETE", path, self.user_token).status < 300

    def token(self, name: str) -> str:
        """Read a workspace's admin token anew."""
        return self.listed()[name]["token"]

    def serve(self, name: str) -> subprocess.CompletedProcess[str]:
        """Push or deploy the project into a workspace."""
        if self.dialect is FORWARD:
            return self.tb(self.token(name), "--cloud", "deploy")
        return self.tb(self.token(name), "push", "--push-deps", "--force", "--yes", "--no-check")

    def resources(self, token: str) -> tuple[set[str], set[str]]:
        """Return the names of data sources and of pipes."""
        sources = ask(self.host, "GET", "/v0/datasources", token).json["datasources"]
        pipes = ask(self.host, "GET", "/v0/pipes", token).json["pipes"]
        return {s["name"] for s in sources}, {p["name"] for p in pipes}

    def count(self, token: str, name: str) -> int:
        """Return how many rows a data source has."""
        told = ask(self.host, "GET", f"/v0/datasources/{name}", token).json
        return told["statistics"]["row_count"]

    def seed(self, token: str) -> None:
        """Load the fixtures into a workspace that serves the project."""
        for name in ("rides", "stations"):
            file = next(self.project.rglob(f"{name}.csv")).relative_to(self.project)
            words = ["--file", str(file)] if self.dialect is FORWARD else [str(file)]
            done = self.tb(token, *self.cloud, "datasource", "append", name, *words)
            assert done.returncode == 0
        assert (self.count(token, "rides"), self.count(token, "stations")) == (6, 3)


@contextmanager
def world_of(dialect: Dialect, folder: Path, command: str) -> Iterator[World]:
    """Make a world on the stand-in, or on the host that the environment names."""
    host = os.environ.get("DATAOPS_TINYBIRD_HOST")
    with nullcontext() if host else StandIn() as stand_in:
        project = make_project(folder / "project", dialect)
        if stand_in:
            stand_in.answer("busiest_stations", [{"station": s, "rides": n} for s, n in BUSIEST])
            host, user_token = stand_in.url, stand_in.user_token
            stand_in.create_workspace("first", dialect)  # whoever has an account has one
        else:
            # The vendor's local container gives its tokens away.
            user_token = (
                os.environ.get("DATAOPS_TINYBIRD_USER_TOKEN")
                or (ask(host, "GET", "/tokens").json["user_token"])
            )
        tb = Tb(command, host, project)
        prefix = f"t{secrets.token_hex(4)}_"
        made = World(host, user_token, dialect, tb, project, stand_in, prefix)
        yield made
        for name in set(made.names) & set(made.listed()):
            made.delete(name)


@pytest.fixture
def dialect(request) -> Dialect:
    return request.param


@pytest.fixture
def world(dialect, tmp_path, tb_commands) -> Iterator[World]:
    with world_of(dialect, tmp_path, tb_commands[dialect]) as made:
        yield made


@pytest.fixture
def forward(tmp_path, tb_commands) -> Iterator[World]:
    with world_of(FORWARD, tmp_path, tb_commands[FORWARD]) as made:
        yield made


@pytest.fixture
def classic(tmp_path, tb_commands) -> Iterator[World]:
    with world_of(CLASSIC, tmp_path, tb_commands[CLASSIC]) as made:
        yield made


@BOTH
def test_workspaces_are_created_looked_at_listed_and_deleted(world: World):
    staging, pro = (f"{world.prefix}{name}" for name in ("staging_acme", "pro_acme"))
    world.names += [staging, pro]
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
def test_one_project_serves_two_workspaces_with_rows_of_their_own(world: World):
    staging, pro = (world.create(name) for name in ("staging_acme", "pro_acme"))
    for name in (staging, pro):
        assert world.serve(name).returncode == 0
        assert world.resources(world.token(name)) == (SOURCES, PIPES)
    world.seed(world.token(staging))
    assert world.count(world.token(pro), "rides") == 0
    assert world.serve(staging).returncode == 0  # again: nothing is lost
    assert world.count(world.token(staging), "rides") == 6


@BOTH
def test_our_own_deployment_lands_and_finds_no_difference_afterwards(
    world: World, tmp_path, monkeypatch
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
    assert world.count(world.token(name), "rides") == 6
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
def test_an_endpoint_answers_and_the_projects_test_passes_and_can_fail(world: World):
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
def test_a_branch_is_created_deployed_to_and_removed(world: World):
    staging = world.create("staging_acme")
    assert world.serve(staging).returncode == 0
    token = world.token(staging)
    assert world.tb(token, "branch", "create", "ci_7", "--wait").returncode == 0
    path = f"/{world.version}/environments"
    (branch,) = ask(world.host, "GET", path, token).json["environments"]
    assert (branch["name"], branch["is_branch"]) == ("ci_7", True)
    assert branch["created_at"]
    told = ask(world.host, "GET", f"/{world.version}/user/workspaces", world.user_token).json
    (inner,) = (w["token"] for w in told["workspaces"] if w["name"] == "ci_7")
    (world.project / "endpoints" / "all_stations.pipe").write_text(
        "NODE only\nSQL >\n    SELECT * FROM stations\n\nTYPE endpoint\n"
    )
    if world.dialect is FORWARD:
        assert world.tb(token, "--branch=ci_7", "deploy").returncode == 0
    else:
        assert world.tb(inner, "push", "endpoints/all_stations.pipe").returncode == 0
    assert "all_stations" in world.resources(inner)[1]
    assert "all_stations" not in world.resources(token)[1]
    assert world.tb(token, "branch", "rm", "ci_7", "--yes").returncode == 0
    assert ask(world.host, "GET", path, token).json["environments"] == []


def test_forward_checks_deploys_lists_and_finds_nothing_to_do(forward: World):
    token = forward.token(forward.create("staging_acme"))
    assert forward.tb(token, "--cloud", "deploy", "--check").returncode == 0
    assert forward.resources(token) == (set(), set())
    assert forward.tb(token, "--cloud", "deploy").returncode == 0
    listed = forward.tb(token, "--cloud", "deployment", "ls")
    assert (listed.returncode, "Live" in listed.stdout) == (0, True)
    again = forward.tb(token, "--cloud", "deploy")
    assert (again.returncode, "No changes" in again.stdout) == (0, True)


def test_forward_refuses_a_broken_project_and_serves_what_it_served(forward: World):
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
def test_a_pipe_that_the_project_dropped_is_deleted_by_forward_and_kept_by_classic(world: World):
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


def test_classic_fixtures_go_into_an_empty_workspace(classic: World):
    token = classic.token(classic.create("staging_acme"))
    assert classic.tb(token, "push", "--push-deps", "--fixtures").returncode == 0
    assert (classic.count(token, "rides"), classic.count(token, "stations")) == (6, 3)


def test_classic_skips_a_changed_pipe_without_force_and_says_success(classic: World):
    staging = classic.create("staging_acme")
    assert classic.serve(staging).returncode == 0
    token = classic.token(staging)
    pipe = classic.project / "endpoints" / "long_rides.pipe"
    pipe.write_text(pipe.read_text().replace("30", "60"))
    assert classic.tb(token, "push", "--push-deps").returncode == 0
    assert "60" not in ask(classic.host, "GET", "/v1/pipes/long_rides.pipe", token).text
    assert classic.serve(staging).returncode == 0
    assert "60" in ask(classic.host, "GET", "/v1/pipes/long_rides.pipe", token).text


def test_forward_shares_by_the_datafile_and_the_origin_goes_first(forward: World, tmp_path):
    origin, reader = forward.create("staging_acme"), forward.create("marketing")
    theirs = tmp_path / "theirs"
    (theirs / "endpoints").mkdir(parents=True)
    pipe = f"NODE only\nSQL >\n    SELECT * FROM {origin}.rides\n\nTYPE endpoint\n"
    (theirs / "endpoints" / "their_rides.pipe").write_text(pipe)
    tb = Tb(forward.tb.command, forward.host, theirs)
    token = forward.token(reader)
    assert tb(token, "--cloud", "deploy").returncode == 1
    rides = forward.project / "datasources" / "rides.datasource"
    rides.write_text(f"{rides.read_text()}\nSHARED_WITH >\n    {reader}\n")
    assert forward.serve(origin).returncode == 0
    assert tb(token, "--cloud", "pull", "--only-vendored").returncode == 0
    assert list(theirs.rglob("*.datasource"))
    assert tb(token, "--cloud", "deploy").returncode == 0
    assert forward.resources(token)[1] == {"their_rides"}


def test_classic_says_success_when_it_shared_nothing(classic: World):
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


@pytest.fixture
def on_stand_in(monkeypatch) -> None:
    monkeypatch.delenv("DATAOPS_TINYBIRD_HOST", raising=False)


STAND_IN = pytest.mark.usefixtures("on_stand_in")


@STAND_IN
def test_a_classic_push_that_breaks_half_way_is_healed_by_the_next(classic: World):
    staging = classic.create("staging_acme")
    classic.stand_in.faults.requests.append(Fault("POST", "/v0/pipes", nth=4))
    assert classic.serve(staging).returncode == 1
    sources, pipes = classic.resources(classic.token(staging))
    assert sources == SOURCES
    assert len(pipes) == 3
    assert classic.serve(staging).returncode == 0
    assert classic.resources(classic.token(staging)) == (SOURCES, PIPES)


@STAND_IN
def test_a_forward_deployment_that_fails_late_changes_nothing_and_the_next_lands(forward: World):
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
def test_a_forward_deploy_that_is_killed_blocks_until_its_id_is_discarded(forward: World):
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
def test_the_limit_of_branches_is_an_error_until_one_is_removed(world: World):
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
def test_a_refused_creation_and_a_host_that_is_down_are_errors(world: World):
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
