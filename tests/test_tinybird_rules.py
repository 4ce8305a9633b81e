"""What is decided about Tinybird without asking anybody: plans, guards, files, settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dataops_dagster import config
from dataops_dagster.cli.session import Session
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.gate.decisions import approved_deployments
from dataops_dagster.model import Decision, DecisionKind
from dataops_dagster.settings_gate import Approvals
from dataops_dagster.settings_tinybird import Tinybird
from dataops_dagster.tinybird import guard, plan, resources, testing
from dataops_dagster.tinybird.command import Ended
from dataops_dagster.tinybird.definitions import Difference
from dataops_dagster.tinybird.journal import Entry, Journal
from dataops_dagster.tinybird.model import (
    DeploymentPlan,
    Identity,
    Kind,
    Operation,
    Resource,
    Verb,
)
from dataops_dagster.tinybird.trouble import trouble
from tests.conftest import NOW

SETTINGS = Tinybird(
    host="https://api.example.com", workspace="acme", token_variable="TB_TOKEN", workspace_id=None
)
WHERE = "workspaces.prod.tinybird"


# --- plans ------------------------------------------------------------------------------------


def made(*operations: Operation, tree: str = "t", workspace: str = "w") -> DeploymentPlan:
    return plan.signed(DeploymentPlan(workspace, tree, operations), "https://api.example.com")


DELETE = Operation(Verb.DELETE, Kind.ENDPOINT, "top")
CREATE = Operation(Verb.CREATE, Kind.ENDPOINT, "low")
CHANGE = Operation(Verb.CHANGE, Kind.DATASOURCE, "rides", "adds column a")
LOSE = Operation(Verb.CHANGE, Kind.DATASOURCE, "rides", "drops column a", is_lossy=True)
SEED = Operation(Verb.SEED, Kind.DATASOURCE, "rides")


def test_a_digest_names_the_workspace_the_tree_and_the_operations_in_any_order():
    assert made(DELETE, CREATE).digest == made(CREATE, DELETE).digest
    others = [made(DELETE), made(DELETE, CREATE, tree="u"), made(DELETE, CREATE, workspace="v")]
    assert len({made(DELETE, CREATE).digest, *(other.digest for other in others)}) == 4
    changes = [dataclasses.replace(CHANGE, is_lossy=True), dataclasses.replace(CHANGE, detail="x")]
    assert len({made(change).digest for change in (CHANGE, *changes)}) == 3


def test_what_forward_announces_is_read_and_nothing_else():
    told = {
        "new_pipe_names": ["a"],
        "changed_datasource_names": ["b", 3, "\x1b[31mc\nd"],
        "deleted_data_connector_names": ["k"],
        "disconnected_data_source_names": "no list",
        "errors": [],
    }
    found = plan.announced(told, [Resource("a", Kind.ENDPOINT)])
    assert [(o.verb.value, o.kind.value, o.name) for o in found] == [
        ("create", "endpoint", "a"),
        ("change", "datasource", "b"),
        ("change", "datasource", "3"),
        ("change", "datasource", "[31mc d"),
        ("delete", "connection", "k"),
    ]


def test_classic_deletes_only_what_we_brought():
    there = [Resource(name, Kind.PIPE) for name in ("same", "kept", "dropped", "by_hand")]
    project = [Resource(name, Kind.PIPE) for name in ("same", "kept", "new")]
    differences = {"kept": Difference("SQL of a")}
    operations, unknown = plan.compared(project, there, ("kept", "dropped"), differences)
    assert [(o.verb.value, o.name, o.detail) for o in operations] == [
        ("create", "new", ""),
        ("change", "kept", "SQL of a"),
        ("delete", "dropped", ""),
    ]
    assert unknown == ("by_hand",)


@pytest.mark.parametrize(
    ("rows", "count"), [({}, 2), ({"a": 0, "b": 0}, 2), ({"a": 0, "b": 1}, 0), ({"b": 1}, 0)]
)
def test_fixtures_are_appended_to_all_or_none(rows, count):
    assert len(plan.seeds([("a", "fixtures/a.csv"), ("b", "fixtures/b.csv")], rows)) == count


# --- guards -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "pinned", "told"),
    [
        (Identity("1", "acme"), None, ""),
        (Identity("1", "acme"), "1", ""),
        (Identity("1", "other"), None, "belongs to workspace other"),
        (Identity("2", "acme"), "1", "1 is pinned"),
        (Identity("2", "acme", is_branch=True), None, "belongs to a branch"),
    ],
)
def test_a_token_must_belong_to_the_configured_workspace(found, pinned, told):
    settings = SETTINGS.model_copy(update={"workspace_id": pinned})
    refusal = guard.wrong_workspace(settings, found, WHERE)
    assert told in str(refusal) if told else refusal is None


@pytest.mark.parametrize(
    ("there", "is_refused"),
    [
        ((), False),
        (("a", "b"), False),
        (("a", "x"), False),
        (("a", "x", "y"), True),
        (("x",), True),
    ],
)
def test_a_workspace_that_mostly_holds_something_else_is_refused(there, is_refused):
    planned = made(DELETE)
    more = {"target": "prod", "approved": ()}
    refusal = guard.foreign(there, {"a", "b", "c"}, planned, **more)
    assert bool(refusal) is is_refused
    more["approved"] = (planned.digest,)
    assert guard.foreign(there, {"a", "b", "c"}, planned, **more) is None


@pytest.mark.parametrize("is_production", [False, True])
@pytest.mark.parametrize(
    ("destructive", "operation", "staging", "production"),
    [
        ("refuse", CREATE, "", ""),
        ("refuse", CHANGE, "", ""),
        ("refuse", DELETE, "set", "set"),
        ("refuse", LOSE, "set", "set"),
        ("approve", DELETE, "approve", "approve"),
        ("approve", LOSE, "approve", "approve"),
        ("allowed", DELETE, "", ""),
        ("allowed", LOSE, "", ""),
        ("refuse", SEED, "", "approve"),
    ],
)
def test_what_deletes_or_fills_production_needs_a_yes(
    destructive, operation, staging, production, is_production
):
    settings = Tinybird.model_validate(
        {
            **SETTINGS.model_dump(),
            "destructive": destructive,
            "production": is_production,
        }
    )
    planned = made(operation)
    more = {"where": WHERE, "target": "prod"}
    refusal = guard.unsafe(settings, planned, approved=(), **more)
    wanted = production if is_production else staging
    assert bool(refusal) is bool(wanted)
    assert wanted in (refusal.hint if refusal else "")
    approved = guard.unsafe(settings, planned, approved=(planned.digest,), **more)
    assert bool(approved) is (wanted == "set")


def test_an_approval_counts_for_its_plan_and_quorum_and_no_longer():
    def said(by: str, digest: str, id_: str) -> Decision:
        return Decision(id_, DecisionKind.APPROVE, "prod", by, "", NOW, plan=digest)

    decided = [
        said("ada", "sha256:1", "a"),
        said("bo", "sha256:1", "b"),
        said("ada", "sha256:2", "c"),
    ]
    both = approved_deployments(decided, Approvals(), now=NOW)
    assert both == {"sha256:1", "sha256:2"}
    assert approved_deployments(decided, Approvals(quorum=2), now=NOW) == {"sha256:1"}
    assert not approved_deployments(decided, Approvals(), now=NOW + Approvals().expires)
    lifted = [*decided, dataclasses.replace(decided[0], id="d", kind=DecisionKind.LIFT, lifts="c")]
    assert approved_deployments(lifted, Approvals(), now=NOW) == {"sha256:1"}


# --- files ------------------------------------------------------------------------------------


def write(folder: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    write(folder, "datasources/rides.datasource", "fixtures/rides.csv", "README.md")
    write(folder, "endpoints/top.pipe", text="NODE a\nSQL >\n    SELECT 1\nTYPE endpoint\n")
    write(folder, "pipes/count.pipe", text="NODE a\nTYPE materialized\nDATASOURCE rides\n")
    return folder


def prepare(files: Path, **more: object) -> resources.DataProject:
    settings = Tinybird.model_validate({**SETTINGS.model_dump(), **more})
    return resources.prepare(files, settings, into=files.parent / "copy", where=WHERE)


def test_a_data_project_is_known_by_its_file_names(files):
    found = prepare(files)
    assert {(r.name, r.kind.value) for r in found.resources} == {
        ("rides", "datasource"),
        ("top", "endpoint"),
        ("count", "materialization"),
    }
    assert found.fixtures == (("rides", "fixtures/rides.csv"),)


def test_what_holds_tokens_or_leads_elsewhere_does_not_come_along(files):
    write(
        files,
        ".tinyb",
        ".env",
        ".env.local",
        ".hidden/x.pipe",
        "pipes/.x.pipe",
        "tinybird.json",
        text="secret",
    )
    write(files, "tinybird.config.json", text='{"folder": "/etc"}')
    copy = prepare(files).folder
    held = {p.relative_to(copy).as_posix(): p.read_text() for p in copy.rglob("*") if p.is_file()}
    assert set(held) == {
        "tinybird.config.json",
        "datasources/rides.datasource",
        "fixtures/rides.csv",
        "endpoints/top.pipe",
        "pipes/count.pipe",
    }
    assert held["tinybird.config.json"] == "{}\n"


@pytest.mark.parametrize("name", ["tinybird.config.py", "deep/tinybird.config.mjs"])
def test_code_that_tb_would_run_is_refused(files, name):
    write(files, name, text="print()")
    with pytest.raises(ConfigError, match="is code that tb would run with the token"):
        prepare(files)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("    SELECT '$TB_TOKEN'", "variable TB_TOKEN"),
        ("    SELECT '$${TB_TOKEN}'", "variable TB_TOKEN"),
        ("KAFKA_TOPIC ${https_proxy}", "variable https_proxy"),
        ('INCLUDE "/proc/self/environ"', "not in the data project"),
        ("\rinclude ../../home/x.incl", "not in the data project"),
        ('INCLUDE "a b/../../x.incl"', None),
        ('INCLUDE "a b/../../../x.incl"', "not in the data project"),
        ('INCLUDE "$HOME/x.incl"', "not in the data project"),
        ('INCLUDE "../fixtures/rides.csv"', "no .incl file"),
        ('INCLUDE "../x.incl" "A=$" "B=TB_TOKEN"', "with values"),
        ('INCLUDE "../includes/x.incl"', None),
        ("    Include all, even '$' and ${mine}", None),
    ],
)
def test_what_reaches_beyond_the_data_project_is_refused(files, line, told):
    write(files, "pipes/bad.pipe", text=f"NODE a\n{line}\n")
    if told is None:
        assert "bad" in prepare(files, dialect="classic").names
        return
    with pytest.raises(ConfigError, match=rf"pipes/bad\.pipe .*{told}"):
        prepare(files, dialect="classic")


def test_an_included_file_is_read_as_strictly(files):
    write(files, "includes/x.incl", text='INCLUDE "../../x.incl"\n')
    with pytest.raises(ConfigError, match=r"includes/x\.incl .*not in the data project"):
        prepare(files)


def test_a_definition_that_is_too_large_is_refused(files, monkeypatch):
    monkeypatch.setattr(resources, "_LARGEST_BYTES", 100)
    write(files, "pipes/bad.pipe", text="#" * 101)
    with pytest.raises(ConfigError, match=r"bad\.pipe is larger than 100 bytes"):
        prepare(files)


def test_a_link_to_somebodys_file_is_refused(files, tmp_path):
    (tmp_path / "private.datasource").write_text("private")
    (files / "datasources" / "x.datasource").symlink_to(tmp_path / "private.datasource")
    with pytest.raises(ConfigError, match=r"x\.datasource is a symbolic link"):
        prepare(files)


@pytest.mark.parametrize("path", ["nowhere", "out"])
def test_a_folder_that_is_not_there_or_leads_out_is_told(files, tmp_path, path):
    (files / "out").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=f"the commit has no folder {path}"):
        prepare(files, path=path)


def test_more_files_than_a_data_project_has_are_refused(files, monkeypatch):
    monkeypatch.setattr(resources, "MOST_FILES", 3)
    with pytest.raises(ConfigError, match="holds more than 3 files"):
        prepare(files)


def test_classic_names_a_version(files):
    write(files, "pipes/old.pipe", text="VERSION 2\nNODE a\n")
    assert "old__v2" in prepare(files, dialect="classic").names


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("INCLUDE ../includes/a.incl\nENGINE x", "SCHEMA >\n    `a` Int32\nENGINE x"),
        ("INCLUDE '../includes/lost.incl'", "INCLUDE '../includes/lost.incl'"),
        ("INCLUDE loop.incl", ""),
        ("ENGINE x", "ENGINE x"),
    ],
)
def test_what_a_definition_includes_stands_in_its_place(files, text, told):
    write(files, "includes/a.incl", text='INCLUDE "b.incl"\n    `a` Int32\n')
    write(files, "datasources/b.incl", text="SCHEMA >\n")
    write(files, "datasources/loop.incl", text="INCLUDE loop.incl\n" * 1000)
    write(files, "datasources/rides.datasource", text=text)
    project = prepare(files)
    (rides,) = [r for r in project.resources if r.name == "rides"]
    assert resources.definition(project, rides) == told


# --- what tb prints ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["warning", "{", '  "id": "7"', "}", "bye"], {"id": "7"}),
        (["{", '  "error": "a long', "text", '"', "}"], {"error": "a long\ntext\n"}),
        (["{", "  broken", "}"], {}),
        (["[" * 100_000], {}),
        (["{" * 100_000, "}"], {}),
        ([], {}),
    ],
)
def test_a_document_is_found_among_other_lines(lines, found):
    assert Ended(0, lines, timed_out=False).document() == found


DOWN = (
    "HTTPConnectionPool(host='127.0.0.1', port=35191): Max retries exceeded with url: /v0/workspace"
)


@pytest.mark.parametrize(
    ("lines", "is_trouble"),
    [
        ([DOWN], True),
        (["** Running 'rides'", "** Failed pushing pipe x: Internal server error"], True),
        ([f"** Failed running ./pipes/x.pipe: {DOWN}"], True),
        (["status: Error: Server error, cannot parse response. <html>502 Bad Gateway"], True),
        (["| live | ./tests/a.yaml | a | Error: Internal server error | 0 ms |"], True),
        (
            ["| live | ./tests/a.yaml | Internal server error | Error: No such column | 0 ms |"],
            False,
        ),
        (["Error: Unknown build result. Error: Internal server error"], True),
        (["✗ All tests skipped (a.pipe not found)", "✗ b failed", "Expected to not fail"], True),
        (["✗ All tests skipped (a.pipe not found)", "✗ b failed", "Expected: "], False),
        (["✗ All tests skipped (a.pipe not found) failed"], False),
        (["** Failed pushing pipe x: Resource 'rides' not found"], False),
        (["✗ a failed", "Expected to not fail but got an error"], False),
        # What a data project brings along does not speak for the server.
        (["✗ Error: Internal server error failed", "** Output and expected output differ"], False),
        (["✗ a failed", "Expected: ", "Error: Internal server error", "Got: "], False),
        (["test: Error: Internal server error", "status: Fail"], False),
        (["status: Error: Internal server error", "Total Fail: 1", "Total Error: 1"], False),
        ([], False),
    ],
)
def test_trouble_of_the_server_is_told_apart_from_a_failure(lines, is_trouble):
    assert bool(trouble(lines)) is is_trouble


@pytest.mark.parametrize(
    ("code", "lines", "ending"),
    [
        (0, ["✓ Done!", "✓ the_harbour passed", "✓ 1/1 passed"], "1 file(s) of tests passed"),
        (0, ["Totals:", "Total Pass: 1"], "1 file(s) of tests passed"),
        (0, ["Total Pass Over Time: 1"], "1 file(s) of tests passed"),
        (0, ["✓ Done!", "✓ 1/1 passed"], "hold no test"),
        (0, ["", "Totals:"], "hold no test"),
        (1, ["✗ the_harbour failed"], "tests failed"),
        (0, ["✓ a passed", "✗ All tests skipped (b.pipe not found)"], "nothing is proven"),
        (1, [DOWN], "nothing is proven"),
    ],
)
def test_only_tests_that_ran_and_passed_are_a_proof(code, lines, ending):
    done = Ended(code, lines, timed_out=False)
    if ending == "nothing is proven":
        with pytest.raises(ToolError, match=ending) as told:
            testing.outcome(done, files=1)
        assert told.value.retryable
    else:
        assert ending in str(testing.outcome(done, files=1))


# --- what is remembered -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", '{"begun": "x"}', '{"begun":1,"names":3}'])
def test_a_journal_that_cannot_be_read_is_empty(text):
    journal = Journal.of("https://api.example.com", "1")
    with journal.locked("a test"):
        journal.write(Entry(begun="c", deployment="7", names=("a",)))
    assert journal.read() == Entry(begun="c", deployment="7", names=("a",))
    assert journal.path.stat().st_mode & 0o077 == 0
    journal.path.write_text(text)
    assert journal.read() == Entry()


# --- settings ---------------------------------------------------------------------------------

FILE = """\
project: shop
workspaces:
  staging:
    repository: https://git.example.com/staging.git
    environment: staging
    deploy: {platform: tinybird}
    tinybird: {host: "https://api.example.com", workspace: staging_acme, token_variable: TB_STAGING}
  prod:
    repository: https://git.example.com/prod.git
    environment: prod
    upstream: staging
    gate: {runs: 0}
    deploy: {platform: tinybird}
    tinybird: {host: "https://api.example.com", workspace: pro_acme, token_variable: TB_PROD}
"""
GATE = "    gate: {runs: 0}\n"


def load(tmp_path: Path, old: str = "", new: str = "", *, gate: str = GATE) -> str:
    """Load the file, changed, perhaps with another gate; returns what is wrong with it."""
    path = tmp_path / "dataops.yaml"
    assert old in FILE
    path.write_text(FILE.replace(old, new).replace(GATE, gate))
    try:
        config.load(path)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", ""),
        ("pro_acme", "staging_acme", "is that of workspace staging"),
        ("token_variable: TB", "workspace_id: a1, token_variable: TB", "is that of workspace staging"),
        ('host: "https://api.example.com", workspace: pro_acme',
         'host: "https://API.example.com.:443/", workspace: staging_acme', "is that of workspace staging"),
        ("TB_PROD}", "TB_PROD, production: true, destructive: allowed}", "is too lenient for production"),
        ("TB_PROD}", "TB_PROD, production: true, destructive: allowed}", "or say production: false"),
        ("TB_PROD}", "TB_PROD, destructive: allowed, production: false}", ""),
        ("TB_STAGING}", "TB_STAGING, destructive: allowed}", "production: is not said"),
        ("TB_STAGING}", "TB_STAGING, destructive: allowed, production: true}", "too lenient for production"),
        ("TB_STAGING}", "TB_STAGING, fixtures: when_empty, production: true}", "nobody can approve"),
        ("{runs: 0}\n    deploy: {platform: tinybird}\n    tinybird: {h",
         "{runs: 0, approvals: {allowed_signers: s}}\n    deploy: {platform: tinybird}\n    tinybird: {fixtures: when_empty, production: true, h",
         "only promotions can be approved by signatures"),
        ("TB_PROD}", "TB_PROD, production: true, recreate: true, user_token_variable: U}", "production is never dropped"),
        ("TB_STAGING}", "TB_STAGING, recreate: true}", "needs a user token"),
        ("TB_STAGING}", "TB_STAGING, destructive: approve}", "nobody can approve where there is no gate"),
        ("{runs: 0}\n    deploy: {platform: tinybird}\n    tinybird: {h",
         "{runs: 0, approvals: {allowed_signers: s}}\n    deploy: {platform: tinybird}\n    tinybird: {destructive: approve, h",
         "only promotions can be approved by signatures"),
        ("TB_STAGING}", "p.eyJ1.abc}", "name an environment variable; never write the secret"),
        ("TB_STAGING}", "TB_STAGING, path: ../x}", "write a folder below the repository's top"),
        ("TB_STAGING}", "TB_STAGING, fixture: never}", "did you mean fixtures?"),
        ('host: "https://api.example.com", workspace: s', "host: http://api.example.com, workspace: s",
         "write https://HOST; http is for this machine only"),
        ('host: "https://api.example.com", workspace: s', "host: http://127.0.0.1:7181, workspace: s", ""),
        ('host: "https://api.example.com", workspace: s', "host: https://a:b@x.example, workspace: s",
         "write https://HOST"),
        ("deploy: {platform: tinybird}\n    tinybird: {h", "tinybird: {h", ""),
        ("deploy: {platform: tinybird}", "deploy: {platform: tinybird, local: https://x}",
         "write http://HOST:PORT"),
        ('    tinybird: {host: "https://api.example.com", workspace: staging_acme, token_variable: TB_STAGING}\n',
         "", "nobody says which workspace of Tinybird's it is for"),
        ("workspaces:", "tinybird: {branches: {ttl: soon}}\nworkspaces:", "write a duration"),
        ("workspaces:", "tinybird: {branches: {prefix: tmp_ci, ttl: 2h, max: 2}}\nworkspaces:", ""),
    ],
)  # fmt: skip
def test_settings_that_would_do_harm_are_refused(tmp_path, old, new, told):
    said = load(tmp_path, old, new)
    assert told in said
    assert bool(said) is bool(told)


@pytest.mark.parametrize("gate", ["", GATE])
@pytest.mark.parametrize(
    "lenient",
    ["destructive: allowed", "recreate: true, user_token_variable: U", "fixtures: when_empty"],
)
def test_nobody_guesses_that_a_workspace_is_staging(tmp_path, lenient, gate):
    """Neither an origin, nor one with or without a gate: what would differ must be said at load."""
    for name in ("TB_STAGING", "TB_PROD"):
        said = load(tmp_path, f"{name}}}", f"{name}, {lenient}}}", gate=gate)
        assert "tinybird.production: is not said" in said
        assert "say production: false if nobody is served by it" in said
        assert (
            load(tmp_path, f"{name}}}", f"{name}, {lenient}, production: false}}", gate=gate) == ""
        )
    assert Tinybird.model_validate({**SETTINGS.model_dump(), "production": None}).is_production
    assert Tinybird.model_validate({**SETTINGS.model_dump(), "production": True}).is_production
    assert not Tinybird.model_validate({**SETTINGS.model_dump(), "production": False}).is_production


@pytest.mark.parametrize("more", ["destructive: approve", "fixtures: when_empty, production: true"])
def test_commands_ask_dagster_for_approvals_wherever_something_waits_for_them(
    tmp_path, monkeypatch, more
):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    path = tmp_path / "dataops.yaml"
    session = Session((path,), as_json=False)
    path.write_text(FILE)
    assert session.approved(*session.target("prod")) == frozenset()
    path.write_text(FILE.replace("TB_PROD}", f"TB_PROD, {more}}}"))
    with pytest.raises(ConfigError, match="DAGSTER_HOME"):
        session.approved(*session.target("prod"))


def test_two_projects_never_share_a_workspace_at_tinybird(tmp_path):
    paths = []
    for name in ("shop", "store"):
        path = tmp_path / f"{name}.yaml"
        text = FILE.replace("project: shop", f"project: {name}")
        path.write_text(text.replace("git.example.com/", f"git.example.com/{name}/"))
        paths.append(path)
    with pytest.raises(ConfigError, match="project shop already deploys to staging_acme"):
        config.load_all(paths)
