"""From prefixes to workspaces: what is whose, what is copied, and how a broken-off move goes on."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from dataops_dagster.api import Api
from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.testing.tinybird import Dialect as Spoken
from dataops_dagster.testing.tinybird import Fault, StandIn, Workspace, resources
from dataops_dagster.testing.tinybird.datafiles import Datasource
from dataops_dagster.tinybird import migration
from dataops_dagster.tinybird.client import Client
from dataops_dagster.tinybird.copying import pieces
from dataops_dagster.tinybird.migration import Migration, split
from dataops_dagster.tinybird.model import Refusal
from tests.tinybird import ask
from tests.tinybird_site import NAME, Change, Site, classic_site, forward_site, nothing, stand_in

__all__ = ["classic_site", "forward_site", "stand_in"]

BOTH = pytest.mark.parametrize("site", ["forward_site", "classic_site"], indirect=True)


# --- whose is what: pure ------------------------------------------------------------------------


def test_a_prefix_ends_with_two_underscores_or_one():
    names = [
        "staging__events",
        "pro_events",
        "events",
        "production_events",
        "staging__",
        "staging_",
    ]
    assert split(names, ["staging", "pro"]) == {
        "staging": {"staging__events": "events"},
        "pro": {"pro_events": "events"},
    }


def test_the_longest_prefix_of_a_name_is_its_own():
    names = ["pro__events", "pro_eu__events"]
    assert split(names, ["pro", "pro_eu"]) == {
        "pro": {"pro__events": "events"},
        "pro_eu": {"pro_eu__events": "events"},
    }


@pytest.mark.parametrize(("rows", "count"), [(0, 1), (1, 1), (10, 1), (11, 2), (101, 11)])
def test_many_rows_are_copied_in_pieces(rows, count):
    found = pieces(rows, 10)
    assert len(found) == count
    assert found == [""] if count == 1 else all(f"% {count} = " in piece for piece in found)


# --- by the real tb -----------------------------------------------------------------------------


@pytest.fixture
def site(request) -> Site:
    return request.getfixturevalue(getattr(request, "param", "forward_site"))


@pytest.fixture
def old(site: Site) -> Workspace:
    """A workspace of Classic's with the project under two prefixes; only data sources matter here."""
    made = site.stand_in.create_workspace("acme", Spoken.CLASSIC)
    site.deploy(fixtures="when_empty")
    fill_prefixes(site.stand_in, site.workspace, made)
    empty(site.stand_in, site.workspace)
    return made


def fill_prefixes(stand_in: StandIn, model: Workspace, made: Workspace) -> None:
    """Copy what a workspace has under two prefixes into another one, with its rows."""
    account = stand_in.account
    for prefix in ("staging__", "pro_"):
        for name, found in model.datasources.items():
            theirs = replace(found, name=f"{prefix}{name}")
            resources.put_datasource(account, made, theirs)
            account.engine.copy(model.table(name), made.table(theirs.name))
    extra = Datasource("staging__scratch", (("a", "String"),), (("engine", "MergeTree"),))
    resources.put_datasource(account, made, extra)


def empty(stand_in: StandIn, workspace: Workspace) -> None:
    for name in workspace.datasources:
        stand_in.account.engine.truncate(workspace.table(name))


def old_client(site: Site, old: Workspace) -> Client:
    return Client(Api(site.stand_in.url, "the old one", "here", old.token), Dialect.CLASSIC)


def migrate(
    site: Site, old: Workspace, change: Change = nothing, *, carry_out: bool = True, **more: object
) -> Migration | Refusal:
    """Move what begins with `staging` into the workspace."""
    client, prefix = old_client(site, old), str(more.pop("prefix", "staging"))
    there = client.resources()
    names = split([r.name for r in there], [prefix])[prefix]
    with tempfile.TemporaryDirectory() as folder:
        order = site.order(Path(folder), change, **more)
        made = migration.plan(client, order, prefix, there=there, names=names)
        if isinstance(made, Refusal) or not carry_out:
            return made
        return migration.carry_out(client, order, made)


def counts(site: Site) -> tuple[int, int]:
    return site.stand_in.count(NAME, "rides"), site.stand_in.count(NAME, "stations")


def answers(made: Migration | Refusal) -> dict[str, str]:
    assert isinstance(made, Migration), made
    return {move.new: move.answer for move in made.moves}


@pytest.mark.slow
def test_a_plan_names_what_is_copied_and_writes_nothing(site: Site, old: Workspace):
    before = len(site.stand_in.requests)
    made = migrate(site, old, carry_out=False)
    assert answers(made) == {"rides": "copy", "stations": "copy", "rides_per_day": "same"}
    assert [(m.old, m.rows, m.rows_there) for m in made.moves if m.new == "rides"] == [
        ("staging__rides", 6, 0)
    ]
    assert made.unknown == ("staging__scratch",)
    assert {a.method for a in site.stand_in.requests[before:]} == {"GET"}


@pytest.mark.slow
@BOTH
def test_a_prefix_becomes_a_workspace_with_its_rows_and_nothing_is_deleted(
    site: Site, old: Workspace
):
    there, before = dict(old.resources), len(site.stand_in.requests)
    made = migrate(site, old)
    assert isinstance(made, Migration), made
    assert made.is_done
    assert counts(site) == (6, 3)
    rows = site.stand_in.account.engine.tables
    assert rows[site.workspace.table("rides")] == rows[old.table("staging__rides")]
    assert old.resources == there
    assert not [a for a in site.stand_in.requests[before:] if a.method == "DELETE"]
    assert migrate(site, old).is_done  # again: nothing is copied twice
    assert counts(site) == (6, 3)


@pytest.mark.slow
def test_a_move_that_broke_off_between_two_data_sources_goes_on_there(site: Site, old: Workspace):
    fault = Fault("POST", "/v1/datasources/stations/append", times=50)
    site.stand_in.faults.requests.append(fault)
    told = migrate(site, old)
    assert isinstance(told, Refusal)
    assert "staging__stations was not copied" in told.reason
    assert counts(site) == (6, 0)
    site.stand_in.faults.requests.clear()
    made = migrate(site, old)
    assert isinstance(made, Migration)
    assert made.is_done
    assert counts(site) == (6, 3)


@pytest.mark.slow
def test_rows_that_others_wrote_are_neither_deleted_nor_mixed(site: Site, old: Workspace):
    ask(
        site.stand_in.url, "POST", "/v1/datasources/rides/append", site.workspace.token,
        body="9,pier,2026-03-01 08:00:00,12,b9\n", format="csv",
    )  # fmt: skip
    assert answers(migrate(site, old, carry_out=False))["rides"] == "differs"
    told = migrate(site, old)
    assert isinstance(told, Refusal)
    assert "rides has 1 rows where staging__rides has 6" in told.reason
    assert "truncate rides yourself" in told.hint
    assert site.stand_in.count(NAME, "rides") == 1


@pytest.mark.slow
def test_what_is_no_migration_is_refused_before_anything_is_written(site: Site, old: Workspace):
    before = len(site.stand_in.requests)
    assert "nothing that begins with dev_" in str(migrate(site, old, prefix="dev"))
    assert "holds the prefixes itself" in str(migrate(site, site.workspace))
    twin = replace(old.datasources["staging__rides"], name="staging_rides")
    resources.put_datasource(site.stand_in.account, old, twin)
    assert "staging__rides and staging_rides would have one name" in str(migrate(site, old))
    for name in list(old.resources):
        if not name.endswith("scratch"):
            resources.remove(site.stand_in.account, old, name)
    assert "unknown to this data project" in str(migrate(site, old))
    assert {a.method for a in site.stand_in.requests[before:]} == {"GET"}


@pytest.mark.slow
def test_columns_that_differ_are_told_and_nothing_is_copied(site: Site, old: Workspace):
    def wider(folder: Path) -> None:
        (path,) = folder.rglob("stations.datasource")
        path.write_text(
            path.read_text().replace("`station` String", "`station` String,\n    `x` String")
        )

    told = migrate(site, old, wider)
    assert isinstance(told, Refusal)
    assert "the columns of staging__stations and stations differ" in told.reason


@pytest.mark.slow
def test_production_is_deployed_only_as_its_rules_say(site: Site, old: Workspace):
    def without(folder: Path) -> None:
        next(folder.rglob("long_rides.pipe")).unlink()

    told = migrate(site, old, without, destructive="approve", production=True)
    assert isinstance(told, Refusal)
    assert "nobody approved that" in told.reason
    assert counts(site) == (0, 0)


# --- where SQL runs -----------------------------------------------------------------------------


@pytest.mark.sql
@pytest.mark.xdist_group("sql")
def test_pieces_hold_each_row_once_and_are_known_again():
    from dataops_dagster.testing.tinybird import ClickHouse

    engine = ClickHouse()
    try:
        with StandIn(engine) as stand_in:
            made = stand_in.create_workspace("acme", Spoken.CLASSIC)
            columns = (
                ("n", "Int64"),
                ("text", "String"),
                ("list", "Array(String)"),
                ("f", "Float64"),
                ("maybe", "Nullable(Int64)"),
            )
            settings = (("engine", "MergeTree"), ("engine_sorting_key", "n"))
            for name in ("source", "target"):
                resources.put_datasource(
                    stand_in.account, made, Datasource(name, columns, settings)
                )
            rows = "".join(
                f"""{n % 700},"a ""{n}"" b","['x','{n}']",{n / 7},{n if n % 3 else ""}\n"""
                for n in range(1000)
            )
            client = Client(Api(stand_in.url, "it", "here", made.token), Dialect.CLASSIC)
            append(stand_in, made, "source", rows)
            conditions = pieces(1000, 300)
            assert len(conditions) == 4
            sizes = [client.count("source", condition) for condition in conditions]
            assert sum(sizes) == 1000
            assert min(sizes) > 100
            for condition, size in zip(conditions, sizes, strict=True):
                append(stand_in, made, "target", client.table("source", condition).decode())
                assert client.count("target", condition) == size
            assert client.count("target") == 1000
            assert client.count("target", " WHERE maybe IS NULL") == 334
    finally:
        engine.close()


def append(stand_in: StandIn, workspace: Workspace, name: str, rows: str) -> None:
    done = ask(
        stand_in.url, "POST", "/v0/datasources", workspace.token,
        body=rows.encode(), name=name, mode="append", format="csv",
    )  # fmt: skip
    assert done.status == 200, done.text
