"""Would a commit do? Checked in a workspace, or tried in a branch that always goes again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

from dataops_dagster.cli.interrupts import orderly
from dataops_dagster.errors import ToolError
from dataops_dagster.settings_tinybird import Branches, Dialect
from dataops_dagster.testing.tinybird import Fault, StandIn, resources
from dataops_dagster.testing.tinybird.datafiles import Datasource
from dataops_dagster.tinybird import branches, deploying, trying
from dataops_dagster.tinybird.client import Client
from dataops_dagster.tinybird.deploying import Deployed
from dataops_dagster.tinybird.model import Branch, Refusal
from tests.tinybird_site import (
    Change,
    Site,
    add_endpoint,
    classic_site,
    forward_site,
    nothing,
    remove,
    stand_in,
)

__all__ = ["classic_site", "forward_site", "stand_in"]

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
RULES = Branches()
BOTH = pytest.mark.parametrize("site", ["forward_site", "classic_site"], indirect=True)


# --- which are ours, and over: pure -------------------------------------------------------------


def branch(name: str, created: datetime | None = None) -> Branch:
    return Branch("b1", name, created)


@pytest.mark.parametrize(
    "name",
    [
        "dataops_ci",
        "dataops_ci_7",
        "dataops_ci_feature",
        "dataops_ci_20261120_120000",
        "dataops_ci_20261399_120000_a1b2c3",
        "dataops_ci_20261120_120000_a1b2c3_",
        "my_dataops_ci_20261120_120000_a1b2c3",
        "dataops_cix20261120_120000_a1b2c3",
    ],
)
def test_a_branch_with_another_name_is_never_ours_however_old(name):
    old = branch(name, NOW - timedelta(days=400))
    assert branches.ours([old], "dataops_ci") == []
    assert branches.expired([old], RULES, NOW) == []


def test_a_name_that_we_make_is_known_again_and_no_two_are_the_same():
    names = {branches.name_for("dataops_ci", NOW) for _ in range(50)}
    assert len(names) == 50
    assert len(branches.ours(map(branch, names), "dataops_ci")) == 50


def test_a_branch_is_over_when_it_is_older_than_it_may_be():
    made = branch(branches.name_for("dataops_ci", NOW), NOW)
    assert branches.expired([made], RULES, NOW + RULES.ttl) == []
    assert branches.expired([made], RULES, NOW + RULES.ttl + timedelta(seconds=1)) == [made]


def test_the_name_says_the_age_where_the_server_does_not():
    made = branch(branches.name_for("dataops_ci", NOW - timedelta(hours=25)))
    assert branches.expired([made], RULES, NOW) == [made]


# --- by the real tb -----------------------------------------------------------------------------


@pytest.fixture
def site(request, monkeypatch) -> Site:
    monkeypatch.setattr(branches, "POLL_SECONDS", 0.05)
    found = request.getfixturevalue(getattr(request, "param", "forward_site"))
    found.stand_in.answer(
        "busiest_stations",
        [{"station": s, "rides": n} for s, n in [("harbour", 3), ("market", 2), ("castle", 1)]]
        if found.dialect is Dialect.FORWARD
        else [],  # Classic's test passes when no row is wrong
    )
    return found


def try_out(site: Site, change: Change = nothing, **more: object) -> str | Refusal:
    """Try the project, changed, in a branch."""
    site.lines.clear()
    rules, local = more.pop("rules", RULES), more.pop("local", site.stand_in.url)
    with tempfile.TemporaryDirectory() as folder:
        order = site.order(Path(folder), change, **more)
        return trying.try_out(order, rules, local=local, now=datetime.now(timezone.utc))


def check(site: Site, change: Change = nothing, **more: object) -> str | Refusal:
    """Check the project, changed, against the workspace."""
    with tempfile.TemporaryDirectory() as folder:
        return trying.check(site.order(Path(folder), change, **more))


def left(site: Site) -> list[str]:
    """Return the names of the branches that are there."""
    return [b.name for b in site.stand_in.account.branches(site.workspace)]


def break_test(folder: Path) -> None:
    (path,) = (folder / "tests").glob("*.yaml")
    path.write_text(
        path.read_text().replace('"rides":3', '"rides":4').replace("!= 'harbour'", "!= ''")
    )


@pytest.mark.slow
@BOTH
def test_a_branch_is_made_deployed_to_tested_and_destroyed(site: Site):
    assert isinstance(site.deploy(), Deployed)
    before = dict(site.workspace.resources)
    told = try_out(site, add_endpoint("short_rides"))
    assert isinstance(told, str), told
    assert "seed 2" in told
    assert "1 file(s) of tests passed" in told
    assert left(site) == []
    assert site.workspace.resources == before
    assert (
        len(site.asked("POST", f"/v{1 if site.dialect is Dialect.FORWARD else 0}/environments"))
        == 1
    )
    (journals,) = [list((Path(os.environ["DATAOPS_STATE_DIR"]) / "tinybird").glob("*.json"))]
    assert len(journals) == 1  # the workspace's own


def use_rides(folder: Path, *, vendored: bool = True) -> None:
    """Read what core_acme shares; `tb pull --only-vendored` brought its file along."""
    theirs = "NODE all\nSQL >\n    SELECT * FROM core_acme.rides\n\nTYPE endpoint\n"
    (folder / "endpoints" / "theirs.pipe").write_text(theirs)
    if vendored:
        file = folder / "vendor" / "core_acme" / "datasources" / "rides.datasource"
        file.parent.mkdir(parents=True)
        rides = (folder / "datasources" / "rides.datasource").read_text()
        file.write_text(f"{rides}\nSHARED_WITH >\n    staging_acme\n")


@pytest.mark.slow
@BOTH
def test_what_others_share_is_used_in_a_branch(site: Site):
    uses = [{"datasource": "rides", "workspace": "core_acme"}]
    told = try_out(site, use_rides, uses=uses)
    assert "core_acme.rides: not shared with staging_acme yet" in str(told)
    assert not [path for v in ("v0", "v1") for path in site.asked("POST", f"/{v}/environments")]
    core = site.stand_in.create_workspace("core_acme", site.workspace.dialect)
    rides = Datasource("rides", (("ride_id", "Int64"),), shared_with=("staging_acme",))
    resources.put_datasource(site.stand_in.account, core, rides)
    with StandIn() as local:  # tb makes workspaces there, of the names of those that share
        local.account.answers = site.stand_in.account.answers
        told = try_out(site, use_rides, uses=uses, local=local.url)
        assert str(told).endswith("create 9, seed 2; 1 file(s) of tests passed"), told
        if site.dialect is Dialect.FORWARD:
            without = partial(use_rides, vendored=False)
            told = try_out(site, without, uses=uses, local=local.url)
            assert "no vendor/core_acme/datasources/rides.datasource" in str(told)
            assert "tb --cloud pull --only-vendored" in str(told)
    assert site.workspace.shared == {"core_acme.rides": core.id}
    assert left(site) == []


@pytest.mark.slow
def test_what_tinybird_does_not_show_to_a_branch_is_told(site: Site, monkeypatch):
    shown = [{"core_acme.rides"}, set[str]()]
    monkeypatch.setattr(Client, "shared_with_us", lambda _: shown.pop(0))
    told = try_out(site, uses=[{"datasource": "rides", "workspace": "core_acme"}])
    assert "Tinybird does not show it to this branch: check without one" in str(told)
    assert left(site) == []


@pytest.mark.slow
def test_what_may_not_be_deleted_in_the_workspace_may_in_its_branch(site: Site):
    site.deploy()
    assert isinstance(try_out(site, remove("long_rides")), str)
    assert "long_rides" in site.served
    assert "would delete endpoint long_rides" in str(check(site, remove("long_rides")))


@pytest.mark.slow
@BOTH
def test_a_test_that_fails_is_told_and_its_branch_is_destroyed_all_the_same(site: Site):
    if site.dialect is Dialect.CLASSIC:
        site.stand_in.answer("busiest_stations", [{"station": "harbour", "rides": 3}])
    told = try_out(site, break_test)
    assert isinstance(told, Refusal)
    assert "tests failed" in told.reason
    assert left(site) == []


@pytest.mark.slow
def test_a_deployment_that_fails_is_told_and_its_branch_is_destroyed(site: Site):
    site.stand_in.faults.deployments.append("the disk is full")
    told = try_out(site)
    assert isinstance(told, Refusal)
    assert "the disk is full" in told.reason
    assert left(site) == []


@pytest.mark.slow
def test_at_the_deadline_the_branch_is_destroyed(site: Site):
    site.stand_in.account.looks = 1_000_000
    told = try_out(site, seconds=10.0)
    assert isinstance(told, Refusal)
    assert "was not live at the deadline" in told.reason
    assert left(site) == []


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_branch_is_destroyed_when_we_are_interrupted_or_wrong(site: Site, monkeypatch, error):
    def fail(*_: object) -> None:
        assert len(left(site)) == 1
        raise error

    monkeypatch.setattr(deploying, "deploy", fail)
    with pytest.raises(error):
        try_out(site)
    assert left(site) == []


@pytest.mark.slow
def test_a_branch_whose_creation_was_not_answered_is_destroyed_too(site: Site, monkeypatch):
    create = Client.create_branch

    def break_off(self: Client, name: str, **more: bool) -> str:
        create(self, name, **more)
        raise ToolError("asking Tinybird", None, "the connection broke", retryable=True)

    monkeypatch.setattr(Client, "create_branch", break_off)
    with pytest.raises(ToolError, match="the connection broke"):
        try_out(site)
    assert left(site) == []


@pytest.mark.slow
def test_a_branch_that_cannot_be_destroyed_is_no_success_and_goes_when_it_is_over(site: Site):
    site.stand_in.faults.requests.append(Fault("DELETE", "/v0/environments/.*", times=50))
    told = try_out(site)
    assert isinstance(told, Refusal)
    (name,) = left(site)
    assert f"branch {name} could not be deleted" in told.reason
    assert "what was tried there: in a branch: deployment 1 is live" in told.reason
    assert f"tb branch rm {name}" in told.hint
    site.stand_in.faults.requests.clear()
    client = Client.of(site.settings(), "here")
    now = datetime.now(timezone.utc)
    assert branches.reap(client, RULES, now + timedelta(hours=23)) == []
    assert [b.name for b in branches.reap(client, RULES, now + timedelta(hours=25))] == [name]
    assert left(site) == []


def test_the_limit_of_ours_refuses_and_counts_nobody_elses(site: Site):
    account = site.stand_in.account
    account.branch_limit = 10
    for name in ("feature_1", "dataops_ci_mine"):
        account.create(name, site.workspace.dialect, main=site.workspace.id)
    now = datetime.now(timezone.utc)
    names = [branches.name_for("dataops_ci", now) for _ in range(2)]
    for name in names:
        account.create(name, site.workspace.dialect, main=site.workspace.id)
    told = try_out(site, rules=Branches(max=2))
    assert isinstance(told, Refusal)
    assert f"there are 2 of at most 2 branches of ours: {', '.join(names)}" in told.reason
    assert len(left(site)) == 4


def test_the_limit_of_the_server_is_told_with_what_to_do(site: Site):
    account = site.stand_in.account
    account.branch_limit = 1
    account.create("feature_1", site.workspace.dialect, main=site.workspace.id)
    told = try_out(site)
    assert isinstance(told, Refusal)
    assert "The limit of 1 branches is reached" in told.reason
    assert "tb branch rm NAME" in told.hint
    assert left(site) == ["feature_1"]


def test_production_gets_no_branch(site: Site):
    told = try_out(site, production=True)
    assert isinstance(told, Refusal)
    assert not site.asked("POST", "/")


def test_a_token_of_another_workspace_makes_no_branch_there(site: Site):
    told = try_out(site, workspace="pro_acme")
    assert isinstance(told, Refusal)
    assert not site.asked("POST", "/")


@pytest.mark.slow
@BOTH
def test_a_check_changes_nothing_and_finds_a_mistake(site: Site):
    assert check(site) == "create 8"
    broken = check(site, lambda f: next(f.rglob("rides.datasource")).write_text("NO\n"))
    assert isinstance(broken, Refusal)
    assert "rides.datasource" in broken.reason or "check says no" in broken.reason
    assert site.served == set()


@pytest.mark.slow
def test_what_waits_for_an_approval_could_be_deployed(site: Site):
    site.deploy()
    told = check(site, remove("long_rides"), destructive="approve", production=True)
    assert isinstance(told, str), told
    assert "nobody approved that" in told


TRIAL = """\
import sys, tempfile
from datetime import datetime, timezone
from pathlib import Path
from dataops_dagster.cli.interrupts import orderly
from dataops_dagster.settings_tinybird import Branches, Tinybird
from dataops_dagster.tinybird import trying
from dataops_dagster.tinybird.site import Order
folder, host, executable = sys.argv[1:]
settings = Tinybird(host=host, workspace="staging_acme", token_variable="TB_STAGING_TOKEN",
                    executable=executable, production=False)
order = Order(settings=settings, target="staging", commit="c" * 40, tree="7" * 40,
              folder=Path(folder), seconds=60, on_line=lambda line: print(line, flush=True))
with orderly():
    trying.try_out(order, Branches(), local=host, now=datetime.now(timezone.utc))
"""


def interrupted(site: Site, folder: Path, *numbers: signal.Signals) -> None:
    """Begin a trial in a process of its own, and send it signals while it deploys."""
    site.stand_in.account.looks = 1_000_000
    folder.mkdir()
    site.order(folder)
    run = subprocess.Popen(
        [sys.executable, "-c", TRIAL, folder, site.stand_in.url, site.executable],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout
    assert any("is submitted" in line for line in run.stdout)
    slow = Fault("GET", "/v1/environments", status=None, seconds=1.0)
    site.stand_in.faults.requests.append(slow)
    for number in numbers:
        run.send_signal(number)
        while not slow.hits and run.poll() is None:
            time.sleep(0.01)  # the next one comes while the branch is being destroyed
    run.communicate()
    site.stand_in.account.looks = 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT, signal.SIGTERM)],
    ids=lambda numbers: "+".join(n.name for n in numbers),
)
def test_a_signal_destroys_the_branch_and_a_second_one_does_not_stop_that(site, tmp_path, numbers):
    interrupted(site, tmp_path / "run", *numbers)
    assert left(site) == []


@pytest.mark.slow
def test_a_branch_that_a_killed_run_left_is_deleted_by_the_next_when_it_is_over(site, tmp_path):
    interrupted(site, tmp_path / "run", signal.SIGKILL)
    (name,) = left(site)
    assert isinstance(try_out(site), str)
    assert left(site) == [name]  # not over yet
    assert isinstance(try_out(site, rules=Branches(ttl="1s")), str)
    assert left(site) == []
    assert f"branch {name} was left behind, and is deleted" in site.lines


@pytest.mark.slow
def test_a_branch_that_is_slow_to_appear_is_waited_for_until_the_deadline(site: Site, monkeypatch):
    looks, real = [1, 2], Client.token_of_branch

    def shown_late(self: Client, id_: str) -> str:
        return "" if looks and looks.pop() else real(self, id_)

    monkeypatch.setattr(Client, "token_of_branch", shown_late)
    assert isinstance(try_out(site), str)
    monkeypatch.setattr(Client, "token_of_branch", lambda *_: "")
    with pytest.raises(ToolError, match="is not ready yet"):
        try_out(site, seconds=0.5)
    assert left(site) == []


def test_a_signal_that_was_ignored_stays_so():
    before, heeded = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        with orderly():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != heeded
        assert signal.getsignal(signal.SIGTERM) == heeded
    finally:
        signal.signal(signal.SIGHUP, before)
