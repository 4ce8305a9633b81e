"""Where SQL runs for real: ClickHouse behind the stand-in answers, materializes and finds errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_dagster.testing.tinybird import ClickHouse, Dialect, StandIn, Workspace
from tests.tinybird import PROJECT, Tb, ask, make_project, project_files

# One ClickHouse a process is all there can be.
pytestmark = [pytest.mark.sql, pytest.mark.xdist_group("sql")]


@pytest.fixture(scope="module")
def engine() -> Iterator[ClickHouse]:
    made = ClickHouse()
    yield made
    made.close()


@pytest.fixture
def stand_in(engine) -> Iterator[StandIn]:
    with StandIn(engine) as made:
        yield made


@pytest.fixture
def staging(stand_in) -> Workspace:
    """A workspace that serves the project, with its fixtures."""
    made = stand_in.create_workspace("staging_acme")
    assert deploy(stand_in, made, project_files()).json["result"] == "success"
    for name in ("rides", "stations"):
        append(stand_in, made, name, (PROJECT / "fixtures" / f"{name}.csv").read_text())
    return made


def deploy(stand_in, workspace, files):
    asked = {"files": files, "auto_promote": "true"}
    told = ask(stand_in.url, "POST", "/v1/deploy", workspace.token, **asked)
    ask(stand_in.url, "GET", "/v1/deployments", workspace.token)
    return told


def append(stand_in, workspace, name, rows):
    path = f"/v1/datasources/{name}/append"
    done = ask(stand_in.url, "POST", path, workspace.token, body=rows, format="csv")
    assert done.status == 200, done.text


def call(stand_in, workspace, endpoint, **parameters):
    path = f"/v0/pipes/{endpoint}.json"
    told = ask(stand_in.url, "GET", path, workspace.token, **parameters)
    assert told.status == 200, told.text
    return [tuple(row.values()) for row in told.json["data"]]


def test_endpoints_answer_what_their_sql_says(stand_in, staging):
    assert call(stand_in, staging, "busiest_stations") == [
        ("harbour", 3),
        ("market", 2),
        ("castle", 1),
    ]
    assert call(stand_in, staging, "rides_by_district") == [("north", 3, 90), ("old town", 3, 31)]


def test_parameters_have_defaults_are_optional_and_are_checked(stand_in, staging):
    assert [row[0] for row in call(stand_in, staging, "long_rides")] == [5, 2, 3, 6]
    assert [row[0] for row in call(stand_in, staging, "long_rides", at_least="40")] == [5, 2]
    harbour = {"at_least": "1", "station": "harbour"}
    assert [row[0] for row in call(stand_in, staging, "long_rides", **harbour)] == [5, 2, 1]
    quoted = {"station": "' OR 1 = 1 --"}
    assert call(stand_in, staging, "long_rides", **quoted) == []
    path = "/v0/pipes/long_rides.json"
    wrong = ask(stand_in.url, "GET", path, staging.token, at_least="1 OR 1")
    assert wrong.status == 400


def test_a_materialized_pipe_fills_its_data_source_from_then_on(stand_in, staging):
    assert call(stand_in, staging, "rides_by_day") == [
        ("2026-03-01", 3, 88),
        ("2026-03-02", 3, 128),
    ]
    append(stand_in, staging, "rides", "7,market,2026-03-02 20:00:00,2,b1\n")
    assert call(stand_in, staging, "rides_by_day")[1] == ("2026-03-02", 4, 130)


def test_a_changed_data_source_keeps_its_rows_and_still_flows(stand_in, staging):
    files = project_files()
    key = "datasources/rides.datasource"
    files[key] = files[key].replace("`bicycle` String", "`bicycle` String,\n    `rider` String")
    assert deploy(stand_in, staging, files).json["result"] == "success"
    assert call(stand_in, staging, "rides_by_day")[0] == ("2026-03-01", 3, 88)
    append(stand_in, staging, "rides", "7,market,2026-03-02 20:00:00,2,b1,ada\n")
    assert stand_in.count("staging_acme", "rides") == 7
    assert call(stand_in, staging, "rides_by_day")[1] == ("2026-03-02", 4, 130)


def test_a_broken_pipe_fails_with_clickhouses_error_and_nothing_changes(stand_in, staging):
    files = project_files()
    key = "endpoints/busiest_stations.pipe"
    files[key] = files[key].replace("count()", "sum(bicycle)")
    told = deploy(stand_in, staging, files).json
    (error,) = told["deployment"]["errors"]
    assert error["filename"] == key
    assert "Illegal type String" in error["error"]
    assert call(stand_in, staging, "busiest_stations")[0] == ("harbour", 3)


def test_workspaces_and_branches_have_rows_of_their_own(stand_in, staging):
    pro = stand_in.create_workspace("pro_acme")
    deploy(stand_in, pro, project_files())
    assert call(stand_in, pro, "busiest_stations") == []
    asked = {"name": "tmp_1", "data": "last_partition"}
    made = ask(stand_in.url, "POST", "/v1/environments", staging.token, **asked).json["workspace"]
    branch = stand_in.workspace(made["id"])
    assert call(stand_in, branch, "rides_by_day") == call(stand_in, staging, "rides_by_day")
    append(stand_in, branch, "rides", "7,market,2026-03-02 20:00:00,2,b1\n")
    assert call(stand_in, branch, "rides_by_day") != call(stand_in, staging, "rides_by_day")


def test_a_shared_data_source_is_read_from_where_it_is(stand_in, staging):
    other = stand_in.create_workspace("marketing")
    form = {"origin_workspace_id": staging.id, "destination_workspace_id": other.id}
    path = f"/v0/datasources/{staging.id_of('rides')}/share"
    ask(stand_in.url, "POST", path, stand_in.user_token, form=form)
    sql = "SELECT max(minutes) AS longest FROM staging_acme.rides"
    pipe = f"NODE a\nSQL >\n    {sql}\nTYPE endpoint\n"
    assert deploy(stand_in, other, {"endpoints/longest.pipe": pipe}).json["result"] == "success"
    assert call(stand_in, other, "longest") == [(90,)]


def test_queries_read_data_sources_and_pipes(stand_in, staging):
    sql = "SELECT sum(rides) AS n FROM busiest_stations FORMAT JSONEachRow"
    assert ask(stand_in.url, "GET", "/v0/sql", staging.token, q=sql).json == {"n": 6}
    wrong = ask(stand_in.url, "GET", "/v0/sql", staging.token, q="SELECT nothing FROM rides")
    assert (wrong.status, "nothing" in wrong.json["error"]) == (400, True)


@pytest.mark.parametrize("dialect", list(Dialect), ids=lambda d: d.value)
def test_the_projects_own_test_passes_on_its_fixtures_and_fails_on_other_rows(
    stand_in, tmp_path: Path, tb_commands, dialect
):
    made = stand_in.create_workspace("staging_acme", dialect)
    tb = Tb(tb_commands[dialect], stand_in.url, make_project(tmp_path / "project", dialect))
    if dialect is Dialect.CLASSIC:
        words = ["test", "run"]
        assert tb(made.token, "push", "--push-deps", "--fixtures").returncode == 0
        assert tb(made.token, *words).returncode == 0
        body = "".join(f"{n},castle,2026-03-03 08:00:00,1,b1\n" for n in range(9))
        asked = {"name": "rides", "mode": "append", "format": "csv"}
        ask(stand_in.url, "POST", "/v0/datasources", made.token, body=body, **asked)
    else:
        words = ["--local", "test", "run"]
        assert tb(made.token, *words).returncode == 0
        fixture = tb.folder / "fixtures" / "rides.csv"
        fixture.write_text(fixture.read_text() + "7,castle,2026-03-03 08:00:00,1,b1\n")
    assert tb(made.token, *words).returncode == 1


def test_rows_come_as_csv_and_as_ndjson(stand_in, staging):
    row = {"station": "quay", "district": "north", "docks": 4}
    path = "/v1/datasources/stations/append"
    body = json.dumps(row)
    done = ask(stand_in.url, "POST", path, staging.token, body=body, format="ndjson")
    assert done.status == 200
    headed = "station,district,docks\npier,north,5\n"
    append(stand_in, staging, "stations", headed)
    assert stand_in.count("staging_acme", "stations") == 5
