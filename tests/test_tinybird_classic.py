"""A deployment by the real `tb` of Classic: everything is pushed, what was dropped is deleted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.model import Operation
from dataops_dagster.testing.tinybird import Fault
from dataops_dagster.testing.tinybird.datafiles import Node, Pipe
from dataops_dagster.tinybird import classic, standing
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Refusal
from tests.tinybird_site import (
    COMMIT,
    NAME,
    Change,
    Site,
    add_endpoint,
    classic_site,
    remove,
    stand_in,
)

pytestmark = pytest.mark.slow
site = classic_site
__all__ = ["site", "stand_in"]


def add_extra(folder: Path) -> None:
    """Add a data source to the data project."""
    (known,) = folder.rglob("stations.datasource")
    known.with_name("extra.datasource").write_text(known.read_text())


def test_a_changed_pipe_is_pushed_and_a_dropped_one_deleted(site: Site):
    assert isinstance(site.deploy(), Deployed)
    assert len(site.served) == 8

    def change(folder):
        remove("long_rides")(folder)
        (pipe,) = folder.rglob("rides_by_day.pipe")
        pipe.write_text(pipe.read_text() + "\n")
        pipe.write_text(pipe.read_text().replace("SELECT", "SELECT 1 AS changed,", 1))

    answer = site.deploy(change, destructive="allowed")
    assert isinstance(answer, Deployed), answer
    assert "long_rides" not in site.served
    sql = "".join(node.sql for node in site.workspace.pipe("rides_by_day").nodes)
    assert "AS changed" in sql


def test_what_somebody_made_there_is_told_and_left_alone(site: Site):
    site.deploy(add_endpoint("by_hand"))
    # As if another machine, whose state is not ours, had deployed it.
    for path in (site.state / "tinybird").glob("*.json"):
        path.unlink()
    planned = site.plan(destructive="allowed")
    assert isinstance(planned, Planned)
    assert planned.plan.unknown == ("by_hand",)
    assert not planned.plan.destructive
    assert isinstance(site.deploy(destructive="allowed"), Deployed)
    assert "by_hand" in site.served


def test_a_data_source_is_not_deleted_from_under_a_pipe_of_somebody_elses(site: Site):
    assert isinstance(site.deploy(add_extra), Deployed)
    theirs = Pipe("theirs", (Node("all", "SELECT * FROM extra", "endpoint"),))
    site.workspace.resources["theirs"] = theirs
    planned = site.deploy(destructive="allowed")
    assert isinstance(planned, Planned)
    assert "use what it would delete: extra: theirs" in str(planned.refusal)
    assert not site.asked("DELETE", "/")
    del site.workspace.resources["theirs"]
    assert isinstance(site.deploy(destructive="allowed"), Deployed)
    assert "extra" not in site.served


def test_one_who_reads_it_since_it_was_planned_keeps_a_data_source(site: Site, monkeypatch):
    site.deploy(add_extra)
    theirs = Pipe("theirs", (Node("all", "SELECT * FROM extra", "endpoint"),))
    site.workspace.resources["theirs"] = theirs
    monkeypatch.setattr(classic, "still_read", lambda *_: None)
    assert "used by theirs" in str(site.deploy(destructive="allowed"))
    assert "extra" in site.served


def test_fixtures_never_replace_rows_that_are_there(site: Site):
    site.deploy(fixtures="when_empty")
    before = site.stand_in.count(NAME, "rides")
    assert before > 0
    site.deploy(fixtures="when_empty")
    assert site.stand_in.count(NAME, "rides") == before


def edit(name: str, old: str, new: str) -> Change:
    """Change what stands in one definition."""

    def change(folder: Path) -> None:
        (path,) = folder.rglob(name)
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def test_a_plan_names_what_changes_and_nothing_else(site: Site):
    site.deploy()
    planned = site.plan(edit("long_rides.pipe", "    ", "      "))
    assert isinstance(planned, Planned)
    assert planned.plan.operations == ()
    planned = site.plan(edit("long_rides.pipe", "SELECT", "SELECT 1 AS changed,"))
    assert isinstance(planned, Planned)
    assert [(o.verb.value, o.name) for o in planned.plan.operations] == [("change", "long_rides")]
    assert planned.plan.operations[0].detail.startswith("SQL of ")


def drifted(site: Site) -> str:
    """Say what deploying the same commit again would do."""
    planned = site.plan(destructive="allowed")
    assert isinstance(planned, Planned)
    operations = [
        Operation(o.verb.value, o.kind.value, o.name, detail=o.detail)
        for o in planned.plan.operations
    ]
    return standing.drift(COMMIT, operations)


def test_what_somebody_changed_there_is_drift_and_formatting_is_none(site: Site):
    site.deploy()
    assert drifted(site) == ""
    pipe, rides = site.workspace.pipe("long_rides"), site.workspace.datasource("rides")
    for old, new, told in (
        (" ", "\n   ", ""),
        ("SELECT", "SELECT 1 AS by_hand,", "change endpoint long_rides (SQL of "),
    ):
        nodes = tuple(replace(n, sql=n.sql.replace(old, new)) for n in pipe.nodes)
        site.workspace.resources["long_rides"] = replace(pipe, nodes=nodes)
        assert told in drifted(site)
        assert bool(told) is bool(drifted(site))
    site.workspace.resources["long_rides"] = pipe
    columns = (*rides.columns, ("by_hand", "String"))
    site.workspace.resources["rides"] = replace(rides, columns=columns)
    assert "would change datasource rides (drops column by_hand)" in drifted(site)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("`minutes` Int32,", "", "drops column minutes"),
        ("Int32", "Int64", "minutes: Int32 becomes Int64"),
        ("station, started_at", "started_at", "sorting key: station,started_at becomes started_at"),
    ],
)
def test_a_change_by_which_data_may_be_lost_needs_a_yes(site: Site, old, new, told):
    site.deploy()
    change = edit("rides.datasource", old, new)
    refused = site.deploy(change)
    assert isinstance(refused, Planned)
    assert [(o.name, o.detail) for o in refused.plan.destructive] == [("rides", told)]
    assert f"it would change datasource rides ({told})" in str(refused.refusal)
    planned = site.plan(change, destructive="approve", production=True)
    assert isinstance(planned, Planned)
    assert planned.refusal
    assert planned.refusal.waits_for == planned.plan.digest
    approved = frozenset([planned.plan.digest])
    planned = site.plan(change, destructive="approve", production=True, approved=approved)
    assert isinstance(planned, Planned)
    assert planned.refusal is None
    assert len(site.asked("POST", "/v0/datasources/")) == 0


def test_a_push_that_breaks_off_is_told_and_the_next_attempt_heals_it(site: Site):
    site.stand_in.faults.requests.append(Fault("POST", "/v0/pipes", nth=4, times=50))
    with pytest.raises(ToolError, match=f"{NAME} is INCONSISTENT, partly at c0ffeec0ffee") as told:
        site.deploy()
    assert told.value.retryable
    assert 0 < len(site.served) < 8
    left = standing.look(site.settings(), "workspaces.staging.tinybird")
    assert "INCONSISTENT: the deployment of c0ffeec0ffee broke off half-way" in left.problem
    site.stand_in.faults.requests.clear()
    assert isinstance(site.deploy(), Deployed)
    assert any("broke off half-way: pushing everything again" in line for line in site.lines)
    assert len(site.served) == 8
    assert standing.look(site.settings(), "workspaces.staging.tinybird").problem == ""


def test_a_pipe_that_cannot_work_fails_its_commit_and_leaves_it_inconsistent(site: Site):
    def change(folder: Path) -> None:
        (pipe,) = folder.rglob("long_rides.pipe")
        pipe.write_text(pipe.read_text().replace("rides", "nobody_has_it"))

    broken = site.deploy(change)
    assert isinstance(broken, Refusal)
    assert f"{NAME} is INCONSISTENT, partly at c0ffeec0ffee" in str(broken)


def test_a_deletion_that_fails_leaves_it_inconsistent_until_it_is_done(site: Site):
    site.deploy()
    gone = remove("long_rides")
    site.stand_in.faults.requests.append(Fault("DELETE", "/v0/pipes/long_rides", times=50))
    with pytest.raises(ToolError, match="INCONSISTENT"):
        site.deploy(gone, destructive="allowed")
    site.stand_in.faults.requests.clear()
    assert isinstance(site.deploy(gone, destructive="allowed"), Deployed)
    assert "long_rides" not in site.served


def test_a_workspace_of_classics_is_named_when_forward_is_configured(site: Site):
    with pytest.raises(ConfigError, match=f"{NAME} is no workspace of Forward's") as told:
        site.deploy(dialect="forward")
    assert "set dialect: classic" in str(told.value)
    assert not site.asked("POST", "/")
