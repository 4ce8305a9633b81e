"""The stand-in for Tinybird's API answers a plain client as the command lines need it."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import urllib3

from dataops_dagster.testing.tinybird import Dialect, Fault, StandIn, Workspace
from dataops_dagster.testing.tinybird import server as server_module
from tests.tinybird import ask, project_files

RIDE = "1,harbour,2026-03-01 08:00:00,12,b1\n"
FORWARD, CLASSIC = Dialect.FORWARD, Dialect.CLASSIC


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as made:
        yield made


@pytest.fixture
def staging(stand_in) -> Workspace:
    """A Forward workspace that serves the project."""
    made = stand_in.create_workspace("staging_acme")
    assert deploy(stand_in, made, project_files()).json["result"] == "success"
    look(stand_in, made)
    assert [d["id"] for d in deployments(stand_in, made)] == ["1"]
    return made


@pytest.fixture
def classic(stand_in) -> Workspace:
    """A Classic workspace with one data source and one endpoint."""
    made = stand_in.create_workspace("old_acme", CLASSIC)
    schema = "`id` Int64, `station` String"
    form = {"name": "rides", "schema": schema, "engine": "MergeTree"}
    assert ask(stand_in.url, "POST", "/v0/datasources", made.token, form=form).status == 200
    assert push(stand_in, made, "all_rides", "SELECT * FROM rides").status == 200
    return made


def deploy(stand_in, workspace, files, *, auto_promote="true", **query):
    asked = {"auto_promote": auto_promote, **query}
    return ask(stand_in.url, "POST", "/v1/deploy", workspace.token, files=files, **asked)


def push(stand_in, workspace, name, sql, kind="endpoint", **query):
    body = json.dumps({"name": name, "nodes": [{"name": "only", "sql": sql, "type": kind}]})
    return ask(stand_in.url, "POST", "/v0/pipes", workspace.token, body=body, **query)


def append(stand_in, workspace, name, rows, mode="append"):
    path = f"/v1/datasources/{name}/{mode}"
    return ask(stand_in.url, "POST", path, workspace.token, body=rows, format="csv")


def deployments(stand_in, workspace):
    return ask(stand_in.url, "GET", "/v1/deployments", workspace.token).json["deployments"]


def look(stand_in, workspace):
    """Look at the newest deployment until it is ready, and let the one before it go."""
    deployments(stand_in, workspace)
    return deployments(stand_in, workspace)[-1]


# --- who ----------------------------------------------------------------------------------------


def test_a_token_says_which_workspace_it_is_for(stand_in, staging):
    told = ask(stand_in.url, "GET", "/v1/workspace", staging.token).json
    assert (told["id"], told["name"]) == (staging.id, "staging_acme")
    assert told["is_branch"] is False


def test_a_classic_workspace_is_not_known_to_the_first_version_of_the_api(stand_in, classic):
    assert ask(stand_in.url, "GET", "/v1/workspace", classic.token).status == 403
    assert ask(stand_in.url, "GET", "/v0/workspace", classic.token).json["name"] == "old_acme"


def test_the_users_workspaces_are_listed_with_tokens_and_without_branches(stand_in, staging):
    branch(stand_in, staging, "tmp_1")
    listed = ask(
        *(stand_in.url, "GET", "/v1/user/workspaces", stand_in.user_token),
        with_environments="false",
    ).json["workspaces"]
    assert [(w["name"], w["token"]) for w in listed] == [("staging_acme", staging.token)]
    both = ask(stand_in.url, "GET", "/v1/user/workspaces", stand_in.user_token).json["workspaces"]
    assert {w["name"] for w in both} == {"staging_acme", "tmp_1"}


def test_a_token_that_nobody_has_is_refused(stand_in, staging):
    for token in ("", "p.nobody", staging.token + "x", "caf\xe9"):
        assert ask(stand_in.url, "GET", "/v1/workspace", token).status == 403


def test_only_a_users_token_creates_and_deletes_workspaces(stand_in, staging):
    assert ask(stand_in.url, "POST", "/v1/workspaces", staging.token, name="b").status == 403
    path = f"/v1/workspaces/{staging.id}"
    assert ask(stand_in.url, "DELETE", path, staging.token).status == 403
    assert ask(stand_in.url, "POST", "/v1/workspaces", stand_in.user_token, name="b").status == 200
    assert ask(stand_in.url, "DELETE", path, stand_in.user_token).status == 200
    assert [w.name for w in stand_in.account.mains()] == ["b"]


def test_a_workspace_that_is_recreated_has_a_new_id_and_new_tokens(stand_in, staging):
    ask(stand_in.url, "DELETE", f"/v1/workspaces/{staging.id}", stand_in.user_token)
    assert ask(stand_in.url, "GET", "/v1/workspace", staging.token).status == 403
    made = ask(stand_in.url, "POST", "/v1/workspaces", stand_in.user_token, name="staging_acme")
    assert made.json["id"] != staging.id
    assert made.json["token"] != staging.token


def test_a_name_is_taken_once_and_must_be_one(stand_in, staging):
    assert (
        ask(stand_in.url, "POST", "/v1/workspaces", stand_in.user_token, name="a-b").status == 400
    )
    taken = ask(stand_in.url, "POST", "/v1/workspaces", stand_in.user_token, name=staging.name)
    assert (taken.status, "taken" in taken.json["error"]) == (400, True)


def test_a_token_for_deployments_deploys_and_cannot_do_more(stand_in, staging):
    token = stand_in.create_token(staging, "WORKSPACE:DEPLOY")
    check = {"files": project_files(), "check": "true"}
    assert ask(stand_in.url, "POST", "/v1/deploy", token, **check).json["result"] == "no_changes"
    assert ask(stand_in.url, "GET", "/v1/deployments", token).status == 200
    told = ask(stand_in.url, "GET", "/v1/workspace", token).json
    assert (told["name"], told["scope"], told["token"]) == ("staging_acme", "deploy", token)
    assert ask(stand_in.url, "GET", "/v0/tokens", token).status == 403
    assert ask(stand_in.url, "POST", "/v1/environments", token, name="b").status == 403


def test_a_token_for_an_endpoint_reads_that_endpoint_only(stand_in, staging):
    stand_in.answer("busiest_stations", [{"station": "harbour"}])
    stand_in.answer("long_rides", [])
    scope = "PIPES:READ:busiest_stations"
    made = ask(stand_in.url, "POST", "/v0/tokens", staging.token, name="app", scope=scope).json
    assert ask(stand_in.url, "GET", "/v0/pipes/busiest_stations.json", made["token"]).status == 200
    assert ask(stand_in.url, "GET", "/v0/pipes/long_rides.json", made["token"]).status == 403


def test_a_token_that_a_datafile_names_is_made_and_kept(stand_in, staging):
    stand_in.answer("busiest_stations", [])
    files = project_files()
    for name in ("busiest_stations", "long_rides"):
        key = f"endpoints/{name}.pipe"
        files[key] = f'TOKEN "read_token" READ\n\n{files[key]}'
        deploy(stand_in, staging, files)
        look(stand_in, staging)
    told = ask(stand_in.url, "GET", "/v0/tokens/read_token", staging.token).json
    assert [s["resource"] for s in told["scopes"]] == ["busiest_stations", "long_rides"]
    assert ask(stand_in.url, "GET", "/v0/pipes/busiest_stations.json", told["token"]).status == 200


# --- forward ------------------------------------------------------------------------------------


def test_a_check_says_what_would_change_and_changes_nothing(stand_in):
    staging = stand_in.create_workspace("staging_acme")
    told = deploy(stand_in, staging, project_files(), check="true").json
    assert told["result"] == "success"
    assert told["deployment"]["new_datasource_names"] == ["rides", "rides_per_day", "stations"]
    assert len(told["deployment"]["new_pipe_names"]) == 5
    assert [d["id"] for d in deployments(stand_in, staging)] == ["0"]


def test_the_same_project_again_is_no_change(stand_in, staging):
    assert deploy(stand_in, staging, project_files()).json["result"] == "no_changes"
    assert [d["id"] for d in deployments(stand_in, staging)] == ["1"]


def test_a_deployment_goes_on_when_it_is_looked_at(stand_in):
    stand_in.account.looks = 4
    staging = stand_in.create_workspace("staging_acme")
    made = deploy(stand_in, staging, project_files()).json["deployment"]
    path = f"/v1/deployments/{made['id']}"
    seen = [ask(stand_in.url, "GET", path, staging.token).json["deployment"] for _ in range(4)]
    assert [d["status"] for d in seen] == [
        "calculating",
        "creating_schema",
        "schema_ready",
        "data_ready",
    ]
    assert [d["live"] for d in seen] == [False, False, False, True]


def test_what_is_not_promoted_is_not_served_until_it_is(stand_in, staging):
    files = {n: t for n, t in project_files().items() if "long_rides" not in n}
    made = deploy(stand_in, staging, files, auto_promote="false").json["deployment"]
    assert [d["live"] for d in deployments(stand_in, staging)] == [True, False]
    assert "long_rides" in staging.pipes
    path = f"/v1/deployments/{made['id']}/set-live"
    assert ask(stand_in.url, "POST", path, staging.token).json["deployment"]["live"]
    assert "long_rides" not in staging.pipes


def test_one_deployment_at_a_time_waits_and_is_discarded_by_its_id(stand_in, staging):
    files = {n: t for n, t in project_files().items() if "long_rides" not in n}
    made = deploy(stand_in, staging, files, auto_promote="false").json["deployment"]
    second = deploy(stand_in, staging, files)
    assert (second.status, second.json["result"]) == (400, "failed")
    assert made["id"] in second.json["deployment"]["errors"][0]["error"]
    path = f"/v1/deployments/{made['id']}"
    assert (
        ask(stand_in.url, "DELETE", path, staging.token).json["deployment"]["status"] == "deleting"
    )
    assert ask(stand_in.url, "GET", path, staging.token).json["deployment"]["status"] == "deleted"
    assert deploy(stand_in, staging, files).json["result"] == "success"


def test_the_live_deployment_is_not_deleted(stand_in, staging):
    assert ask(stand_in.url, "DELETE", "/v1/deployments/1", staging.token).status == 400
    assert ask(stand_in.url, "GET", "/v1/deployments/99", staging.token).status == 404


def test_a_deployment_that_fails_after_it_was_submitted_leaves_what_was_served(stand_in, staging):
    stand_in.faults.deployments.append("the disk is full")
    files = {n: t for n, t in project_files().items() if "long_rides" not in n}
    made = deploy(stand_in, staging, files).json["deployment"]
    path = f"/v1/deployments/{made['id']}"
    seen = [ask(stand_in.url, "GET", path, staging.token).json["deployment"] for _ in range(3)]
    assert [d["status"] for d in seen] == ["failed", "deleting", "deleted"]
    assert seen[-1]["errors"] == [{"error": "the disk is full"}]
    assert "long_rides" in staging.pipes
    assert deploy(stand_in, staging, files).json["result"] == "success"
    assert look(stand_in, staging)["live"]


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("endpoints/new.pipe", "NODE a\nSQL >\n    SELECT * FROM nowhere\n", "'nowhere' not found"),
        ("endpoints/new.pipe", "VERSION 1\nNODE a\nSQL >\n    SELECT 1\n", "VERSION"),
        ("endpoints/new.pipe", "SQL >\n    SELECT 1\n", "before the first NODE"),
        ("endpoints/new.pipe", "NODE a\nTYPE endpoint\n", "SQL"),
        ("endpoints/new.pipe", "NODE a\nSQL >\n    SELECT 1\nTYPE table\n", "type of a node"),
        ("endpoints/new.pipe", "TOKEN app WRITE\n", "READ or APPEND"),
        ("datasources/new.datasource", 'ENGINE "MergeTree"\n', "SCHEMA"),
        (
            "datasources/new.datasource",
            "SHARED_WITH >\n    elsewhere\nSCHEMA >\n    `a` String\n",
            "elsewhere",
        ),
        ("pipes/new.pipe", "NODE a\nSQL >\n    SELECT 1\nTYPE materialized\n", "DATASOURCE"),
        ("pipes/rides.pipe", "NODE a\nSQL >\n    SELECT 1\n", "rides"),
    ],
)
def test_what_is_wrong_with_a_project_is_told_with_its_file(stand_in, staging, file, text, error):
    for check in ("true", "false"):
        told = deploy(stand_in, staging, {**project_files(), file: text}, check=check)
        assert (told.status, told.json["result"]) == (400, "failed")
        assert [e["filename"] for e in told.json["deployment"]["errors"]] == [file]
        assert error in told.json["deployment"]["errors"][0]["error"]
    assert [d["id"] for d in deployments(stand_in, staging)] == ["1"]


def test_data_is_deleted_only_when_that_is_allowed(stand_in, staging):
    append(stand_in, staging, "stations", "harbour,north,24\n")
    files = {
        n: t
        for n, t in project_files().items()
        if "stations.datasource" not in n and "by_district" not in n
    }
    refused = deploy(stand_in, staging, files).json
    assert refused["result"] == "failed"
    assert refused["deployment"]["deleted_datasource_names"] == ["stations"]
    assert stand_in.count("staging_acme", "stations") == 1
    allowed = deploy(stand_in, staging, files, allow_destructive_operations="true").json
    assert allowed["result"] == "success"
    deployments(stand_in, staging)
    assert "stations" not in staging.resources


def test_rows_of_columns_that_stay_are_kept(stand_in, staging):
    append(stand_in, staging, "rides", RIDE)
    files = project_files()
    key = "datasources/rides.datasource"
    files[key] = files[key].replace("`bicycle` String", "`bicycle` String,\n    `rider` String")
    made = deploy(stand_in, staging, files).json["deployment"]
    assert made["changed_datasource_names"] == ["rides"]
    deployments(stand_in, staging)
    (row,) = stand_in.account.engine.select("staging_acme", "SELECT * FROM rides")
    assert (row["station"], row["rider"]) == ("harbour", "")


def test_the_resources_of_a_forward_workspace_change_by_deployments_only(stand_in, staging):
    assert push(stand_in, staging, "extra", "SELECT 1").status == 403
    assert ask(stand_in.url, "DELETE", "/v0/datasources/rides", staging.token).status == 403


# --- classic ------------------------------------------------------------------------------------


def test_a_pipe_that_is_there_is_replaced_by_force_only(stand_in, classic):
    again = "SELECT id FROM rides"
    assert push(stand_in, classic, "all_rides", again).status == 409
    assert push(stand_in, classic, "all_rides", again, force="true").status == 200
    assert classic.pipes["all_rides"].output.sql == again


def test_a_broken_pipe_is_refused_and_leaves_the_one_before(stand_in, classic):
    broken = push(stand_in, classic, "all_rides", "SELECT * FROM nowhere", force="true")
    assert (broken.status, "nowhere" in broken.json["error"]) == (400, True)
    assert classic.pipes["all_rides"].output.sql == "SELECT * FROM rides"


def test_a_data_source_that_is_read_is_deleted_by_force_only(stand_in, classic):
    refused = ask(stand_in.url, "DELETE", "/v0/datasources/rides", classic.token)
    assert (refused.status, "all_rides" in refused.json["error"]) == (409, True)
    path = "/v0/pipes/all_rides"
    assert ask(stand_in.url, "DELETE", path, classic.token).status == 204
    assert ask(stand_in.url, "DELETE", "/v0/datasources/rides", classic.token).status == 204
    assert not classic.resources


def test_a_data_source_is_altered_when_there_is_something_to_alter(stand_in, classic):
    path = "/v0/datasources/rides/alter"
    same = {"schema": "`id` Int64, `station` String", "dry": "true"}
    refused = ask(stand_in.url, "POST", path, classic.token, form=same)
    assert "no operations" in refused.json["error"]
    more = {"schema": "`id` Int64, `station` String, `minutes` Int32"}
    dry = ask(stand_in.url, "POST", path, classic.token, form={**more, "dry": "true"})
    assert dry.json["operations"] == ["ADD COLUMN `minutes` Int32"]
    assert len(classic.datasources["rides"].columns) == 2
    ask(stand_in.url, "POST", path, classic.token, form={**more, "dry": "false"})
    assert len(classic.datasources["rides"].columns) == 3
    fewer = ask(stand_in.url, "POST", path, classic.token, form={"schema": "`id` Int64"})
    assert (fewer.status, "station" in fewer.json["error"]) == (400, True)


def test_the_release_of_a_workspace_is_the_commit_it_was_told(stand_in, classic):
    path = f"/v0/workspaces/{classic.id}/releases"
    assert ask(stand_in.url, "POST", path, classic.token, commit="a" * 40).status == 200
    told = ask(stand_in.url, "GET", "/v0/workspace", classic.token).json
    assert told["release"]["commit"] == "a" * 40
    assert ask(stand_in.url, "POST", path, classic.token, commit="b" * 40).status == 400
    forced = ask(stand_in.url, "POST", path, classic.token, commit="b" * 40, force="true")
    assert forced.json["commit"] == "b" * 40


def test_a_release_is_recorded_by_its_own_workspace_only(stand_in, classic, staging):
    path = f"/v0/workspaces/{classic.id}/releases"
    assert ask(stand_in.url, "POST", path, staging.token, commit="a" * 40).status == 403


# --- branches -----------------------------------------------------------------------------------


def branch(stand_in, workspace, name, **query):
    return ask(stand_in.url, "POST", "/v1/environments", workspace.token, name=name, **query)


def branches(stand_in, workspace):
    return ask(stand_in.url, "GET", "/v1/environments", workspace.token).json["environments"]


def test_a_branch_begins_as_its_workspace_and_changes_alone(stand_in, staging):
    append(stand_in, staging, "rides", RIDE)
    job = branch(stand_in, staging, "tmp_1").json["job"]
    assert ask(stand_in.url, "GET", f"/v0/jobs/{job['id']}", staging.token).json["status"] == "done"
    (listed,) = branches(stand_in, staging)
    made = stand_in.workspace(listed["id"])
    assert listed["main"] == staging.id
    assert made.resources == staging.resources
    files = {n: t for n, t in project_files().items() if "long_rides" not in n}
    deploy(stand_in, made, files)
    look(stand_in, made)
    assert "long_rides" not in made.pipes
    assert "long_rides" in staging.pipes


@pytest.mark.parametrize(("data", "rows"), [("last_partition", 1), ("", 0)])
def test_a_branch_has_rows_when_they_are_asked_for(stand_in, staging, data, rows):
    append(stand_in, staging, "rides", RIDE)
    branch(stand_in, staging, "tmp_1", data=data)
    (listed,) = branches(stand_in, staging)
    assert stand_in.count(listed["id"], "rides") == rows


def test_branches_are_limited_listed_with_their_age_and_deleted(stand_in, staging):
    for name in ("tmp_1", "tmp_2", "tmp_3"):
        assert branch(stand_in, staging, name).status == 200
    assert branch(stand_in, staging, "tmp-4").status == 400
    refused = branch(stand_in, staging, "tmp_4")
    assert (refused.status, "limit" in refused.json["error"]) == (400, True)
    listed = branches(stand_in, staging)
    assert [b["name"] for b in listed] == ["tmp_1", "tmp_2", "tmp_3"]
    assert [b["created_at"] for b in listed] == sorted(b["created_at"] for b in listed)
    path = f"/v0/environments/{listed[0]['id']}"
    assert ask(stand_in.url, "DELETE", path, staging.token).status == 204
    assert branch(stand_in, staging, "tmp_4").status == 200


def test_a_workspace_is_not_deleted_as_a_branch(stand_in, staging):
    path = f"/v0/environments/{staging.id}"
    assert ask(stand_in.url, "DELETE", path, staging.token).status == 404


def test_branches_go_with_their_workspace(stand_in, staging):
    branch(stand_in, staging, "tmp_1")
    ask(stand_in.url, "DELETE", f"/v1/workspaces/{staging.id}", stand_in.user_token)
    assert not stand_in.account.workspaces
    assert not stand_in.account.engine.tables


# --- rows ---------------------------------------------------------------------------------------


def test_rows_are_appended_and_replaced(stand_in, staging):
    assert append(stand_in, staging, "rides", RIDE * 3).json["status"] == "done"
    assert stand_in.count("staging_acme", "rides") == 3
    append(stand_in, staging, "rides", RIDE, mode="replace")
    assert stand_in.count("staging_acme", "rides") == 1
    told = ask(stand_in.url, "GET", "/v0/datasources/rides", staging.token).json
    assert told["statistics"]["row_count"] == 1


def test_a_header_is_no_row_and_a_row_has_all_its_values(stand_in, staging):
    append(stand_in, staging, "stations", "station,district,docks\nharbour,north,24\n")
    assert stand_in.count("staging_acme", "stations") == 1
    refused = append(stand_in, staging, "stations", "harbour,north\n")
    assert (refused.status, "3 columns" in refused.json["error"]) == (400, True)


def test_rows_may_come_packed(stand_in, staging):
    url = f"{stand_in.url}/v1/datasources/rides/append?format=csv"
    headers = {"Authorization": f"Bearer {staging.token}", "Content-Encoding": "gzip"}
    body = gzip.compress(RIDE.encode())
    assert urllib3.request("POST", url, body=body, headers=headers).status == 200
    assert stand_in.count("staging_acme", "rides") == 1


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT count() FROM rides FORMAT CSV", "1\n"),
        ("SELECT count() AS n FROM rides FORMAT JSONEachRow", '{"n":1}\n'),
        ("SELECT * FROM rides LIMIT 0 FORMAT CSV", ""),
        ("SELECT * FROM rides LIMIT 5 OFFSET 1 FORMAT CSV", ""),
        (
            "SELECT * FROM (SELECT * FROM rides) LIMIT 5 FORMAT CSV",
            '"1","harbour","2026-03-01 08:00:00","12","b1"\n',
        ),
    ],
)
def test_rows_are_counted_and_copied_without_an_engine_for_sql(stand_in, staging, sql, text):
    append(stand_in, staging, "rides", RIDE)
    assert ask(stand_in.url, "GET", "/v0/sql", staging.token, q=sql).text == text


def test_what_needs_sql_says_so_instead_of_making_rows_up(stand_in, staging):
    told = ask(stand_in.url, "GET", "/v0/pipes/busiest_stations.json", staging.token)
    assert (told.status, "ClickHouse" in told.json["error"]) == (400, True)


def test_an_endpoint_answers_what_a_test_says_in_all_formats(stand_in, staging):
    stand_in.answer("busiest_stations", [{"station": "harbour", "rides": 3}])
    path = "/v0/pipes/busiest_stations"
    assert ask(stand_in.url, "GET", f"{path}.ndjson", staging.token).text == (
        '{"station":"harbour","rides":3}\n'
    )
    assert ask(stand_in.url, "GET", f"{path}.csv", staging.token).text == '"harbour",3\n'
    assert ask(stand_in.url, "GET", f"{path}.json", staging.token).json["data"] == [
        {"station": "harbour", "rides": 3}
    ]


# --- sharing ------------------------------------------------------------------------------------


def consume(origin):
    text = f"NODE a\nSQL >\n    SELECT * FROM {origin}.rides\nTYPE endpoint\n"
    return {"endpoints/theirs.pipe": text}


def test_a_data_source_is_read_by_the_workspaces_it_is_shared_with(stand_in, staging):
    other = stand_in.create_workspace("marketing")
    assert deploy(stand_in, other, consume("staging_acme")).json["result"] == "failed"
    form = {"origin_workspace_id": staging.id, "destination_workspace_id": other.id}
    path = f"/v0/datasources/{staging.id_of('rides')}/share"
    shared = ask(stand_in.url, "POST", path, stand_in.user_token, form=form)
    assert shared.json["shared_with"] == [other.id]
    assert deploy(stand_in, other, consume("staging_acme")).json["result"] == "success"
    deployments(stand_in, other)
    append(stand_in, staging, "rides", RIDE)
    sql = {"q": "SELECT count() AS n FROM staging_acme.rides FORMAT JSONEachRow"}
    assert ask(stand_in.url, "GET", "/v0/sql", other.token, **sql).json == {"n": 1}
    branch(stand_in, other, "tmp_1")
    (tmp,) = (stand_in.workspace(b["id"]) for b in branches(stand_in, other))
    assert ask(stand_in.url, "GET", "/v0/sql", tmp.token, **sql).json == {"n": 1}
    assert ask(stand_in.url, "DELETE", path, stand_in.user_token, form=form).status == 200
    for token in (other.token, tmp.token):
        assert ask(stand_in.url, "GET", "/v0/sql", token, **sql).status == 403


def test_sharing_by_a_datafile_needs_its_destination_first(stand_in, staging):
    files = project_files()
    files["datasources/rides.datasource"] += "\nSHARED_WITH >\n    marketing\n"
    assert deploy(stand_in, staging, files).json["result"] == "failed"
    other = stand_in.create_workspace("marketing")
    assert deploy(stand_in, staging, files).json["result"] == "success"
    deployments(stand_in, staging)
    assert other.shared == {"staging_acme.rides": staging.id}
    told = ask(stand_in.url, "GET", "/v0/datasources/staging_acme.rides.datasource", other.token)
    assert "SHARED_WITH" not in told.text
    assert "`ride_id` Int64" in told.text


def test_a_workspaces_token_shares_its_own_data_sources_only(stand_in, staging):
    other = stand_in.create_workspace("marketing")
    form = {"origin_workspace_id": staging.id, "destination_workspace_name": "marketing"}
    path = f"/v0/datasources/{staging.id_of('rides')}/share"
    assert ask(stand_in.url, "POST", path, other.token, form=form).status == 403
    assert ask(stand_in.url, "POST", path, staging.token, form=form).status == 200


# --- what goes wrong ----------------------------------------------------------------------------


def test_the_nth_request_goes_wrong_and_the_next_does_not(stand_in, classic):
    stand_in.faults.requests.append(Fault("POST", "/v0/pipes", nth=2))
    answers = [push(stand_in, classic, f"p{n}", "SELECT * FROM rides").status for n in range(4)]
    assert answers == [200, 500, 200, 200]
    assert set(classic.pipes) == {"all_rides", "p0", "p2", "p3"}


def test_faults_of_one_path_count_the_same_requests(stand_in, classic):
    stand_in.faults.requests += [
        Fault("GET", "/v0/workspace", nth=1),
        Fault("GET", "/v0/workspace", nth=2, status=429, error="slower"),
    ]
    told = [ask(stand_in.url, "GET", "/v0/workspace", classic.token).status for _ in range(3)]
    assert told == [500, 429, 200]


def test_creation_can_be_refused(stand_in):
    stand_in.faults.refuse_creation = "see migrate-from-classic"
    told = ask(stand_in.url, "POST", "/v0/workspaces", stand_in.user_token, name="b")
    assert (told.status, told.json["error"]) == (403, "see migrate-from-classic")


def test_a_slow_answer_holds_up_neither_others_nor_the_end():
    hung_up = []

    def wait(url):
        try:
            urllib3.request("GET", f"{url}/v0/regions", retries=False)
        except urllib3.exceptions.HTTPError as error:
            hung_up.append(error)

    with StandIn() as made:
        made.faults.requests.append(Fault("GET", "/v0/regions", status=None, seconds=600))
        slow = threading.Thread(target=wait, args=(made.url,))
        slow.start()
        while not made.faults.requests[0].hits:
            pass
        assert ask(made.url, "GET", "/v0/auth", made.user_token).status == 200
        assert slow.is_alive()
    slow.join()
    assert hung_up


def test_a_host_that_is_down_comes_back_where_it_was_with_what_it_knew(stand_in, classic):
    before = stand_in.url
    with stand_in.down(), pytest.raises(urllib3.exceptions.HTTPError):
        ask(stand_in.url, "GET", "/v0/workspace", classic.token)
    assert stand_in.url == before
    assert ask(stand_in.url, "GET", "/v0/workspace", classic.token).json["name"] == "old_acme"


def test_nothing_is_left_running_when_it_ends():
    before = threading.active_count()
    with StandIn() as made:
        ask(made.url, "GET", "/v0/regions")
        url = made.url
    with pytest.raises(urllib3.exceptions.HTTPError):
        ask(url, "GET", "/v0/regions")
    assert threading.active_count() <= before


def test_what_it_does_not_know_it_says_and_stays_up(stand_in, staging):
    assert ask(stand_in.url, "GET", "/v0/nothing", staging.token).status == 404
    assert ask(stand_in.url, "POST", "/v0/pipes", staging.token, body="{").status == 403
    broken = ask(stand_in.url, "POST", "/v0/pipes", staging.token, body=b"\xff")
    assert broken.status == 403
    assert ask(stand_in.url, "GET", "/v1/workspace", staging.token).status == 200


def test_a_body_that_is_no_json_is_refused(stand_in, classic):
    for body in ("{", "[]", b"\xff"):
        told = ask(stand_in.url, "POST", "/v0/pipes", classic.token, body=body)
        assert (told.status, told.json["error"]) == (400, "The body is no JSON object")


def test_a_body_that_is_too_large_is_not_read(stand_in, classic, monkeypatch):
    monkeypatch.setattr(server_module, "_LARGEST", 10)
    told = ask(stand_in.url, "POST", "/v0/pipes", classic.token, body="x" * 11)
    assert told.status == 413


def test_a_client_that_hangs_up_or_lies_is_no_trouble(stand_in, classic, capfd):
    port = stand_in.port
    for text in (b"POST /v0/pipes HTTP/1.0\r\nContent-Length: 99\r\n\r\n{", b"GET / HTTP/1.0\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(text)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /v0/pipes HTTP/1.0\r\nContent-Length: -1\r\n\r\n")
        assert b" 413 " in client.recv(100)
    assert ask(stand_in.url, "GET", "/v0/workspace", classic.token).status == 200
    assert capfd.readouterr().err == ""


def test_pipes_that_read_each_other_are_refused(stand_in):
    made = stand_in.create_workspace("staging_acme")
    files = {
        f"endpoints/{name}.pipe": f"NODE a\nSQL >\n    SELECT * FROM {other}\nTYPE endpoint\n"
        for name, other in (("one", "two"), ("two", "one"))
    }
    told = deploy(stand_in, made, files).json
    assert "read each other" in told["deployment"]["errors"][0]["error"]


def test_it_is_served_by_hand_until_it_is_interrupted():
    module = "dataops_dagster.testing.tinybird"
    running = subprocess.Popen(
        [sys.executable, "-m", module, "classic"], stdout=subprocess.PIPE, text=True
    )
    lines = [running.stdout.readline() for _ in range(5)]
    told = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
    reply = ask(told["TB_HOST"], "GET", "/v0/workspace", told["TB_TOKEN"])
    running.send_signal(signal.SIGINT)
    assert running.communicate()[0] == ""
    assert running.returncode == 0
    assert reply.json["name"] == "staging_acme"
    wrong = [sys.executable, "-m", module, "modern"]
    refused = subprocess.run(wrong, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (
        1,
        "modern is no dialect: use classic or forward\n",
    )


# --- what was asked -----------------------------------------------------------------------------


def test_requests_are_remembered_by_who_asked_and_never_with_a_token(stand_in, staging):
    stand_in.requests.clear()
    ask(stand_in.url, "GET", "/v1/workspace", staging.token)
    ask(stand_in.url, "GET", "/v0/auth", stand_in.user_token)
    ask(stand_in.url, "GET", "/v0/auth", "p.wrong")
    ask(stand_in.url, "GET", "/v0/auth")
    told = [(a.method, a.path, a.who, a.status, a.token_in_url) for a in stand_in.requests]
    assert told == [
        ("GET", "/v1/workspace", "staging_acme", 200, False),
        ("GET", "/v0/auth", "user", 200, False),
        ("GET", "/v0/auth", "nobody", 403, False),
        ("GET", "/v0/auth", "nobody", 403, False),
    ]
    urllib3.request("GET", f"{stand_in.url}/v0/auth?token={staging.token}")
    assert stand_in.requests[-1].token_in_url
    shown = repr(stand_in.requests)
    assert staging.token not in shown
    assert stand_in.user_token not in shown
