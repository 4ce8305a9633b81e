"""A deployment by the real `tb` of Forward: what it does, refuses, leaves as it was, and heals."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.testing.tinybird import Fault
from dataops_dagster.tinybird import forward
from dataops_dagster.tinybird.command import Ended, Tb
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Refusal, Verb
from tests.tinybird_site import (
    NAME,
    TOKEN,
    Change,
    Site,
    add_endpoint,
    forward_site,
    remove,
    stand_in,
)

pytestmark = pytest.mark.slow
site = forward_site
__all__ = ["site", "stand_in"]

ALL = {
    "rides",
    "stations",
    "rides_per_day",
    "count_rides",
    "busiest_stations",
    "long_rides",
    "rides_by_district",
    "rides_by_day",
}


def refused(answer: object) -> str:
    """Return why a deployment was refused, whether before or after it was planned."""
    refusal = answer.refusal if isinstance(answer, Planned) else answer
    assert isinstance(refusal, Refusal), answer
    return str(refusal)


def outcome(site: Site, change: Change) -> str:
    """Return in words how a deployment ended."""
    try:
        return "deployed" if isinstance(site.deploy(change), Deployed) else "refused"
    except ToolError as error:
        return "could not find out" if error.retryable else str(error)


# --- what it does -----------------------------------------------------------------------------


def test_a_data_project_is_deployed_and_the_second_time_there_is_nothing_to_do(site: Site):
    first = site.deploy()
    assert isinstance(first, Deployed)
    assert first.detail == "deployment 1 is live: create 8"
    assert site.served == ALL
    again = site.deploy()
    assert isinstance(again, Deployed)
    assert again.detail == "nothing to deploy: no changes"
    assert [d.id for d in site.workspace.deployments if d.live] == ["1"]


def test_a_plan_names_each_resource_and_writes_nothing(site: Site):
    site.deploy()
    both = add_endpoint("short_rides")
    planned = site.plan(lambda folder: (both(folder), remove("long_rides")(folder)))
    assert isinstance(planned, Planned)
    told = {(o.verb, o.name) for o in planned.plan.operations}
    assert told == {(Verb.CREATE, "short_rides"), (Verb.DELETE, "long_rides")}
    assert [o.name for o in planned.plan.destructive] == ["long_rides"]
    assert site.served == ALL


def test_fixtures_fill_an_empty_workspace_and_never_one_with_rows(site: Site):
    assert isinstance(site.deploy(fixtures="when_empty"), Deployed)
    before = site.stand_in.count(NAME, "rides")
    assert before > 0
    assert isinstance(site.deploy(add_endpoint("short_rides"), fixtures="when_empty"), Deployed)
    assert site.stand_in.count(NAME, "rides") == before


# --- what it refuses --------------------------------------------------------------------------


def test_the_token_of_another_workspace_is_refused_before_anything_is_written(site: Site):
    told = refused(site.deploy(workspace="prod_acme"))
    assert f"{TOKEN} belongs to workspace {NAME}, not to prod_acme" in told
    assert not site.asked("POST", "/")


def test_a_workspace_that_was_made_anew_is_refused_where_its_id_is_pinned(site: Site):
    told = refused(site.deploy(workspace_id="0a1b2c"))
    assert "0a1b2c is pinned" in told
    assert not site.asked("POST", "/")


@pytest.mark.parametrize("known", ["pinned", "told by its token", "nobody's"])
def test_a_workspace_that_is_another_of_the_project_as_well_is_refused(
    site: Site, monkeypatch, known
):
    monkeypatch.setenv("TB_OTHER", site.workspace.token)
    more = {"workspace": "pro_acme", "workspace_id": site.workspace.id}
    if known != "pinned":
        more = {"host": site.stand_in.url.replace("127.0.0.1", "localhost")}
    if known == "nobody's":
        monkeypatch.delenv("TB_OTHER")
    other = site.settings(**more, token_variable="TB_OTHER")
    answer = site.deploy(others=(("prod", other),))
    if known == "nobody's":
        assert isinstance(answer, Deployed)
        return
    assert "is what workspace prod is at Tinybird, too" in refused(answer)
    assert not site.asked("POST", "/")


def test_a_workspace_of_another_data_project_is_refused(site: Site):
    site.deploy()
    names = ALL - {"rides", "stations"}

    def other(folder: Path) -> None:
        for name in names:
            remove(name)(folder)

    told = refused(site.deploy(other, destructive="allowed"))
    assert "6 of the 8 resources in the workspace are unknown to this data project" in told
    assert site.served == ALL


def test_what_deletes_is_refused_unless_it_may_or_exactly_that_was_approved(site: Site):
    site.deploy()
    gone = remove("long_rides")
    assert "it would delete endpoint long_rides" in refused(site.deploy(gone))
    waiting = site.deploy(gone, destructive="approve")
    assert isinstance(waiting, Planned)
    assert f"dataops approve staging --plan {waiting.plan.digest}" in refused(waiting)
    another = frozenset({"sha256:" + "0" * 64})
    assert "nobody approved that" in refused(
        site.deploy(gone, destructive="approve", approved=another)
    )
    assert site.served == ALL
    approved = frozenset({waiting.plan.digest})
    assert isinstance(site.deploy(gone, destructive="approve", approved=approved), Deployed)
    assert site.served == ALL - {"long_rides"}


def test_production_gets_fixtures_only_if_that_was_approved(site: Site):
    told = refused(site.deploy(fixtures="when_empty", production=True))
    assert "it would seed datasource rides, seed datasource stations" in told
    assert site.served == set()


def test_a_data_project_that_is_wrong_is_refused_with_the_file(site: Site):
    site.deploy()
    told = refused(site.deploy(lambda f: (f / "datasources/rides.datasource").write_text("NO\n")))
    assert "datasources/rides.datasource" in told
    assert site.served == ALL


def test_a_version_of_tb_that_nobody_tried_is_refused_with_what_to_install(site: Site, tmp_path):
    tb = tmp_path / "tb"
    tb.write_text("#!/bin/sh\necho 'tb, version 6.5.5 (rev 5a6cd1d)'\n")
    tb.chmod(0o755)
    with pytest.raises(ConfigError, match=r"is version 6.5.5; for forward we know 5.0.0 or newer"):
        site.deploy(executable=str(tb))
    with pytest.raises(ConfigError, match=r"uv pip install --python FOLDER tinybird==5\.0\.2"):
        site.deploy(executable=str(tmp_path / "none"))


# --- what fails, and what then is served ------------------------------------------------------


def test_a_deployment_that_fails_after_it_was_submitted_leaves_what_was_live(site: Site):
    site.deploy()
    site.stand_in.faults.deployments.append("the backfill went wrong")
    told = refused(site.deploy(add_endpoint("short_rides")))
    assert "deployment 2 failed: the backfill went wrong" in told
    assert site.served == ALL
    assert isinstance(site.deploy(add_endpoint("short_rides")), Deployed)
    assert site.served == {*ALL, "short_rides"}


@pytest.mark.parametrize("path", ["/v1/workspace", "/v1/deploy", "/v1/deployments/2", "/v0/pipes"])
def test_a_server_that_fails_leaves_what_was_live_and_the_next_attempt_deploys(site: Site, path):
    site.deploy()
    site.stand_in.account.looks = 3
    for method in ("GET", "POST"):
        site.stand_in.faults.requests.append(Fault(method, path, times=50))
    # Neither a no nor a yes: whoever asked asks again, and nothing is rolled back.
    assert outcome(site, add_endpoint("short_rides")) == "could not find out"
    assert site.served == ALL
    site.stand_in.faults.requests.clear()
    assert isinstance(site.deploy(add_endpoint("short_rides")), Deployed)
    assert site.served == {*ALL, "short_rides"}


def test_a_column_that_forward_would_drop_without_a_word_needs_a_yes(site: Site):
    def change(folder: Path) -> None:
        (path,) = folder.rglob("stations.datasource")
        path.write_text(
            path.read_text().replace("    `docks` Int32\n", "").replace("String,\n\n", "String\n\n")
        )

    site.deploy()
    told = refused(site.deploy(change))
    assert "it would change datasource stations (drops column docks)" in told
    assert "docks" in dict(site.workspace.datasource("stations").columns)
    assert isinstance(site.deploy(change, destructive="allowed"), Deployed)
    assert "docks" not in dict(site.workspace.datasource("stations").columns)


def test_at_the_deadline_our_own_deployment_is_discarded(site: Site):
    site.deploy()
    site.stand_in.account.looks = 1_000_000
    told = refused(site.deploy(add_endpoint("short_rides"), seconds=12.0))
    assert "deployment 2 was not live at the deadline" in told
    assert site.asked("DELETE", "/v1/deployments/") == ["/v1/deployments/0", "/v1/deployments/2"]
    assert site.served == ALL


def test_somebody_elses_deployment_is_never_discarded(site: Site):
    site.deploy()
    site.deploy(add_endpoint("short_rides"))
    live = next(d for d in site.workspace.deployments if d.live)
    foreign = type(live)("9", {}, {}, live.created_at, status="data_ready")
    site.workspace.deployments.append(foreign)
    with pytest.raises(ToolError, match=r"deployment 9 \(data_ready\) stands in the way") as told:
        site.deploy()
    assert "tb --cloud deployment discard" in str(told.value)
    assert not site.asked("DELETE", "/v1/deployments/9")


def test_somebody_elses_deployment_of_that_moment_is_not_taken_for_ours(site: Site, monkeypatch):
    site.deploy()
    (live,) = [d for d in site.workspace.deployments if d.live]
    foreign = type(live)("9", {}, {}, live.created_at)
    site.stand_in.account.looks = 1_000_000
    real = Tb.ask

    def ask(tb: Tb, *arguments: str) -> Ended:
        if "--no-wait" not in arguments:
            return real(tb, *arguments)
        site.workspace.resources.pop("long_rides")  # so that ours has nothing to do any more
        done = real(tb, *arguments)
        site.workspace.deployments.append(foreign)
        return done

    monkeypatch.setattr(Tb, "ask", ask)
    with pytest.raises(ToolError, match=r"deployment 9 .* stands in the way"):
        site.deploy(remove("long_rides"), destructive="allowed", seconds=12.0)
    assert not site.asked("DELETE", "/v1/deployments/9")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda site: site.workspace.resources.pop("stations"), "create stations"),
        (lambda site: site.workspace.resources.pop("short_rides"), "not delete short_rides"),
    ],
)
def test_nothing_goes_live_but_what_its_plan_said(site: Site, monkeypatch, change, told):
    site.deploy(add_endpoint("short_rides"))
    real = Tb.ask

    def ask(tb: Tb, *arguments: str) -> Ended:
        if "--no-wait" in arguments:
            change(site)  # somebody was faster, after the check
        return real(tb, *arguments)

    monkeypatch.setattr(Tb, "ask", ask)
    asked = len(site.asked("POST", "/v1/deployments"))
    told_by_us = refused(site.deploy(add_endpoint("other_rides"), destructive="allowed"))
    assert "it would do other than its plan said" in told_by_us
    assert told in told_by_us
    assert "other_rides" not in site.served
    assert len(site.asked("POST", "/v1/deployments")) == asked
    assert "deployment 2 is discarded" in site.lines


def test_a_run_that_was_killed_as_it_promoted_leaves_nothing_in_the_way(site: Site, monkeypatch):
    site.deploy()

    class Killed(BaseException):
        pass

    def killed(*_given: object) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(forward, "discard_if_not_live", killed)
        with pytest.raises(Killed):
            site.deploy(add_endpoint("short_rides"))
    assert site.served == {*ALL, "short_rides"}
    assert [d.status for d in site.workspace.deployments if d.id == "1"] == ["data_ready"]
    assert isinstance(site.deploy(), Planned)  # it deletes: asks first, and the way is free
    assert "deployment 1 is left from an attempt that broke off: discarding it" in site.lines
    assert site.workspace.deployments[-1].live


def test_what_is_under_way_already_is_waited_for(site: Site):
    site.deploy()
    live = next(d for d in site.workspace.deployments if d.live)
    site.stand_in.account.looks = 3
    resources = dict(site.workspace.resources)
    foreign = type(live)("9", resources, {}, live.created_at, auto_promote=True)
    site.workspace.deployments.append(foreign)
    assert isinstance(site.deploy(), Deployed)
    assert foreign.live


KILLED = """\
import sys, tempfile
from pathlib import Path
from dataops_dagster.settings_tinybird import Tinybird
from dataops_dagster.tinybird import deploying
from dataops_dagster.tinybird.site import Order
folder, host, executable = sys.argv[1:]
settings = Tinybird(host=host, workspace="staging_acme", token_variable="TB_STAGING_TOKEN",
                    executable=executable)
deploying.deploy(Order(settings=settings, target="staging", commit="c" * 40, tree="7" * 40,
                       folder=Path(folder), seconds=60, on_line=lambda line: print(line, flush=True)))
"""


def test_the_attempt_after_a_run_that_was_killed_discards_what_that_one_left(site: Site, tmp_path):
    site.deploy()
    site.stand_in.account.looks = 1_000_000
    folder = tmp_path / "killed"
    folder.mkdir()
    site.order(folder, add_endpoint("short_rides"))
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder, site.stand_in.url, site.executable],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout
    assert any("deployment 2 is submitted" in line for line in run.stdout)
    run.kill()
    run.wait()
    run.stdout.close()
    site.stand_in.account.looks = 1
    # Frozen where the killed run left it: only a discard frees the way.
    site.workspace.deployments[-1].auto_promote = False
    assert isinstance(site.deploy(add_endpoint("other_rides")), Deployed)
    assert "deployment 2 is left from an attempt that broke off: discarding it" in site.lines
    assert site.asked("DELETE", "/v1/deployments/2")
    assert not site.asked("DELETE", "/v1/deployments/3")
    assert site.served == {*ALL, "other_rides"}


def test_an_interrupt_discards_our_own_deployment(site: Site, monkeypatch):
    site.deploy()
    site.stand_in.account.looks = 1_000_000

    def interrupt(_seconds: float) -> None:
        monkeypatch.setattr(time, "sleep", before)
        raise KeyboardInterrupt

    before = time.sleep

    def on_line(line: str) -> None:
        if line == "deployment 2 is submitted":
            monkeypatch.setattr(forward.time, "sleep", interrupt)

    site.on_line = on_line
    with pytest.raises(KeyboardInterrupt):
        site.deploy(add_endpoint("short_rides"))
    assert site.asked("DELETE", "/v1/deployments/") == ["/v1/deployments/0", "/v1/deployments/2"]
    assert site.served == ALL
