"""The client of Tinybird's API against the stand-in: what it asks, and what it makes of answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.settings_tinybird import Dialect, Tinybird
from dataops_dagster.testing.tinybird import Dialect as Spoken
from dataops_dagster.testing.tinybird import Fault, StandIn
from dataops_dagster.testing.tinybird.exchange import Answer
from dataops_dagster.tinybird.client import Account, Client
from dataops_dagster.tinybird.model import Kind, Resource

WHERE = "workspaces.staging.tinybird"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as found:
        yield found


@pytest.fixture(params=list(Dialect), ids=lambda d: d.value)
def settings(request, stand_in: StandIn, monkeypatch) -> Tinybird:
    workspace = stand_in.create_workspace("staging_acme", Spoken(request.param.value))
    monkeypatch.setenv("TB_TOKEN", workspace.token)
    monkeypatch.setenv("TB_USER", stand_in.user_token)
    return Tinybird(
        host=stand_in.url,
        workspace="staging_acme",
        token_variable="TB_TOKEN",
        user_token_variable="TB_USER",
        dialect=request.param,
    )


def test_the_workspace_is_the_tokens_and_no_token_is_in_a_url(stand_in, settings):
    client = Client.of(settings, WHERE)
    found = client.identity()
    assert (found.name, found.is_branch) == ("staging_acme", False)
    assert found.id == stand_in.workspace("staging_acme").id
    assert client.resources() == []
    assert client.branches() == []
    Account.of(settings, WHERE).workspaces()
    assert not [asked for asked in stand_in.requests if asked.token_in_url]


def test_workspaces_are_made_found_with_their_token_and_deleted(stand_in, settings):
    account = Account.of(settings, WHERE)
    assert account.find("new_acme") is None
    account.create("new_acme")
    made = account.find("new_acme")
    assert made
    assert made.token == stand_in.workspace("new_acme").token
    assert made.token not in repr(made)
    account.delete(made)
    assert account.find("new_acme") is None


def test_branches_come_with_their_age_and_are_deleted_by_id(stand_in, settings):
    workspace = stand_in.workspace("staging_acme")
    branch = stand_in.account.create("tmp_ci_1", workspace.dialect, main=workspace.id)
    client = Client.of(settings, WHERE)
    (found,) = client.branches()
    assert (found.id, found.name) == (branch.id, "tmp_ci_1")
    assert found.created
    assert found.created.tzinfo
    client.delete_branch(found.id)
    client.delete_branch(found.id)  # gone already: no error
    assert client.branches() == []


def test_a_token_that_is_wrong_is_told_by_its_key_and_not_shown(settings, monkeypatch):
    monkeypatch.setenv("TB_TOKEN", "p.wrong-token")
    with pytest.raises(ToolError) as told:
        Client.of(settings, WHERE).identity()
    assert f"check {WHERE}.token_variable" in str(told.value)
    assert "wrong-token" not in str(told.value)
    monkeypatch.delenv("TB_TOKEN")
    with pytest.raises(ConfigError, match="the environment variable TB_TOKEN is not set"):
        Client.of(settings, WHERE)


@pytest.mark.slow
def test_a_server_that_is_down_is_asked_again_and_told_in_time(stand_in, settings):
    client = Client.of(settings, WHERE)
    stand_in.faults.requests.append(Fault("GET", "/v./workspace", times=2, status=503))
    assert client.identity().name == "staging_acme"
    with stand_in.down(), pytest.raises(ToolError) as told:
        client.identity()
    assert told.value.retryable


def test_what_is_made_is_asked_for_once(stand_in, settings):
    stand_in.faults.requests.append(Fault("POST", "/v./workspaces", times=9))
    with pytest.raises(ToolError):
        Account.of(settings, WHERE).create("new_acme")
    assert [a.method for a in stand_in.requests].count("POST") == 1


@pytest.mark.parametrize("name", ["a/b", "a b", "a;drop", "../x", "", "a.b"])
def test_only_names_become_parts_of_paths_and_queries(stand_in, settings, name):
    client = Client.of(settings, WHERE)
    with pytest.raises(ToolError, match="is no resource's name"):
        client.rows([name])
    with pytest.raises(ToolError, match="is no resource's name"):
        client.delete(Resource(name, Kind.PIPE))
    assert stand_in.requests == []


@pytest.mark.parametrize("answer", ["null", "[]", '{"datasources": 3}', "<html>", '{"a":' * 9999])
def test_an_answer_of_another_form_is_an_error_in_words(stand_in, settings, monkeypatch, answer):
    client = Client.of(settings, WHERE)

    monkeypatch.setattr(stand_in, "serve", lambda *_: Answer(200, answer.encode()))
    with pytest.raises(ToolError, match=r"not of the form|has no list|is not JSON"):
        client.resources()
