"""The command line: what people read, what machines read, and what it ends with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

import dataops_dagster
from dataops_dagster import config
from dataops_dagster.cli import main
from tests.conftest import NOW, SHOP, Shop, make_shop
from tests.repositories import git

HOSTILE = "[red]alert[/] [link=https://evil.example]x[/link] \x1b[31m\x1b]0;title\x07\u202eevil [/]"


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def dataops(*arguments: str) -> Ended:
    """Call the command; nothing of it may be a traceback."""
    done = CliRunner().invoke(main, arguments, env={"COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "Traceback" not in done.output
    return Ended(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch) -> Path:
    """A Dagster instance that remembers nothing."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


@pytest.fixture
def staged(shop: Shop) -> Shop:
    """What dev has is promoted to staging; no run proved it."""
    shop.promote("staging")
    return shop


@pytest.fixture
def ungated(tmp_path: Path, shop: Shop) -> Shop:
    (tmp_path / "dataops.yaml").write_text(SHOP.replace("    gate: {environment: staging}\n", ""))
    shop.promote("staging")
    return shop


def heads(shop: Shop) -> list[str]:
    return [w.head for w in (shop.dev, shop.staging, shop.prod)]


# --- check ------------------------------------------------------------------------------------


def test_check_says_where_every_repository_is(shop: Shop):
    done = dataops("check")
    assert done.code == 0
    for workspace in (shop.dev, shop.staging, shop.prod):
        assert f"at {workspace.head[:12]}" in done.out
    assert "git version" in done.out


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("2.30.2", 2, "is too old\n  hint: install git 2.39 or newer, with its vendor's security"),
        ("2.39.5", 0, "see that its vendor's security updates are in"),
        ("2.56.1.windows.1", 0, None),
        ("of our own", 2, "is too old"),
    ],
)
def test_check_tells_of_an_old_git(shop: Shop, monkeypatch, said, code, told):
    program = shop.root / "bin" / "git"
    program.parent.mkdir()
    real = shutil.which("git")
    program.write_text(
        f'#!/bin/sh\ntest "$1" != --version || exec echo "git version {said}"\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    done = dataops("--json", "check")
    assert done.code == code
    assert done.json["git"] == f"git version {said}"
    found = [*(error["message"] for error in done.json["errors"]), *done.json["by_hand"]]
    assert not found if told is None else any(told in text for text in found)


@pytest.mark.usefixtures("shop")
def test_check_as_json():
    done = dataops("--json", "check")
    assert done.code == 0
    assert [w["state"] for w in done.json["workspaces"]] == ["ok", "ok", "ok"]
    assert done.json["errors"] == []


@pytest.mark.usefixtures("empty_shop")
def test_check_says_that_a_repository_is_empty():
    done = dataops("--json", "check")
    assert done.code == 0
    assert {w["state"] for w in done.json["workspaces"]} == {"empty"}


@pytest.mark.parametrize("mode", [(), ("--json",)])
def test_check_tells_of_the_repositories_that_answer_and_of_the_one_that_does_not(shop, mode):
    shop.dev.bare.rename(shop.root / "moved.git")
    done = dataops(*mode, "check")
    assert done.code == 3
    assert "workspaces.dev.repository" in done.out.replace("\n", "")
    assert shop.staging.head[:12] in done.out
    if mode:
        assert [e["kind"] for e in done.json["errors"]] == ["ToolError"]


# --- status -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("empty_home")
def test_status_says_what_each_workspace_waits_for(staged: Shop):
    done = dataops("--json", "status")
    assert done.code == 0
    dev, staging, prod = done.json
    assert dev["state"] == "source"
    assert staging["state"].startswith("nothing to do")
    assert staging["release"].endswith(staged.staging.head[:12])
    assert prod["state"].startswith("evidence: waits for a successful run of staging")


def test_status_without_an_instance_still_shows_what_git_knows(staged: Shop):
    done = dataops("status")
    assert done.code == 2  # what the gate waits for could not be found out
    assert staged.prod.head[:12] in done.out
    assert "DAGSTER_HOME" in done.out


@pytest.mark.slow
@pytest.mark.usefixtures("empty_home")
def test_status_tells_of_the_others_when_a_repository_is_not_there(staged: Shop):
    staged.dev.bare.rename(staged.root / "moved.git")
    done = dataops("--json", "status")
    assert done.code == 3
    dev, staging, _ = done.json
    assert "git upload-pack for workspaces.dev" in dev["state"]
    assert "could not find out" in staging["state"]
    assert staging["head"] == staged.staging.head[:12]


# --- plan and promote -------------------------------------------------------------------------


def test_a_plan_shows_what_would_change_and_writes_nothing(shop: Shop):
    before = heads(shop)
    done = dataops("plan", "staging")
    assert done.code == 0
    for shown in ("Initial commit", "pipeline.yml", "overwrites what the target had", "sha256:"):
        assert shown in " ".join(done.out.split())
    assert "ready: 1 commit(s) of dev" in done.out
    assert heads(shop) == before
    assert shop.staging.tags() == []


def test_a_plan_as_json_holds_everything(shop: Shop):
    done = dataops("--json", "plan", "staging")
    assert done.json["answer"] == "Ready"
    assert done.json["plan"]["upstream_commit"] == shop.dev.head
    (overwrite,) = done.json["plan"]["overwrites"]
    assert (overwrite["path"], overwrite["line_count"]) == ("README.md", 1)
    assert overwrite["lines"][0]["text"] == "# staging"
    assert overwrite["lines"][0]["author"] == "Grace"
    assert done.json["plan"]["equality"] == "same tree"


def test_promote_lands_what_was_planned(shop: Shop):
    planned = dataops("--json", "plan", "shop/staging").json["plan"]
    done = dataops("--json", "promote", "staging")
    assert (done.code, done.json["answer"]) == (0, "Promoted")
    assert done.json["ready"]["plan"] == planned
    assert shop.staging.head == planned["commit"]
    assert shop.staging.tags() == [done.json["release"]["tag"]]


def test_a_dry_run_writes_nothing(shop: Shop):
    before = heads(shop)
    done = dataops("promote", "staging", "--dry-run")
    assert done.code == 0
    assert "ready:" in done.out
    assert heads(shop) == before


def test_promoting_again_has_nothing_to_do_and_that_is_no_error(staged: Shop):
    before = heads(staged)
    done = dataops("promote", "staging")
    assert done.code == 0
    assert "nothing to do" in done.out
    done = dataops("--json", "promote", "staging")
    assert (done.code, done.json["answer"]) == (0, "NothingToDo")
    assert heads(staged) == before


def test_a_commit_may_be_named(ungated: Shop):
    first = ungated.staging.head
    ungated.dev.commit({"later.txt": "x\n"})
    ungated.promote("staging")
    done = dataops("--json", "promote", "prod", "--commit", first)
    assert (done.code, done.json["answer"]) == (0, "Promoted")
    assert done.json["release"]["upstream_commit"] == first
    assert "later.txt" not in ungated.prod.files()


@pytest.mark.parametrize("commit", ["f" * 40, "main", "HEAD~1", "-x", "--all", "", "\x1b[31m"])
def test_what_is_no_commit_of_the_upstream_is_refused(shop: Shop, commit):
    before = heads(shop)
    done = dataops("--json", "promote", "staging", f"--commit={commit}")
    assert done.code in {1, 2}
    assert heads(shop) == before


@pytest.mark.parametrize("length", [7, 12])
def test_a_short_commit_id_is_answered_clearly(shop: Shop, length):
    done = dataops("--json", "plan", "staging", f"--commit={shop.dev.head[:length]}")
    assert done.code in {0, 1, 2}
    if done.code:
        assert "name the full id of a commit" in done.out


def test_the_name_of_a_ref_in_our_own_cache_is_no_commit(shop: Shop):
    dataops("plan", "staging")
    (name,) = git(shop.root / "cache" / "shop.git", "for-each-ref", "--format=%(refname)").split()[
        :1
    ]
    assert dataops("--json", "plan", "staging", f"--commit={name}").code in {1, 2}


@pytest.mark.usefixtures("empty_home")
@pytest.mark.parametrize("arguments", [("plan", "prod"), ("promote", "prod")])
def test_a_closed_gate_holds_and_that_is_no_error(staged: Shop, arguments):
    before = heads(staged)
    done = dataops("--json", *arguments)
    assert (done.code, done.json["answer"]) == (0, "Held")
    assert done.json["verdicts"][0]["state"] == "pending"
    done = dataops(*arguments)
    assert "waits for a successful run of staging" in done.out.replace("\n", " ")
    assert heads(staged) == before


@pytest.mark.usefixtures("empty_home")
def test_an_override_passes_a_closed_gate_and_is_recorded(staged: Shop):
    done = dataops("--json", "promote", "prod", "--override", " the auditors asked ")
    assert (done.code, done.json["answer"]) == (0, "Promoted")
    assert done.json["release"]["override"] == "the auditors asked"
    assert staged.prod.tree() == staged.staging.tree()
    assert "override: the auditors asked" in dataops("log", "prod").out


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_override_needs_a_reason(tmp_path, reason):
    (tmp_path / "dataops.yaml").write_text(SHOP)
    done = dataops("--json", "promote", "prod", "--override", reason)
    assert done.code == 2
    assert done.json["error"]["problems"][0]["where"] == "--override"


@pytest.mark.usefixtures("staged")
def test_a_gate_without_an_instance_to_ask_is_a_clear_error(monkeypatch):
    for home in ("", "relative/folder", "/no/such/folder"):
        monkeypatch.setenv("DAGSTER_HOME", home)
        done = dataops("promote", "prod")
        assert done.code == 2
        assert "DAGSTER_HOME: is not set to an absolute path" in done.err
        assert "hint: set it to the folder" in done.err
    monkeypatch.delenv("DAGSTER_HOME")
    done = dataops("--json", "promote", "prod")
    assert (done.code, done.json["error"]["kind"]) == (2, "ConfigError")


def test_a_conflict_is_a_no_with_the_paths(promoted_shop: Shop):
    promoted_shop.staging.commit({"deploy.sh": None})
    promoted_shop.dev.commit({"deploy.sh": "exit 1\n"})
    before = heads(promoted_shop)
    done = dataops("promote", "staging")
    assert done.code == 1
    assert "deploy.sh" in done.out
    done = dataops("--json", "promote", "staging")
    assert (done.code, done.json["answer"], done.json["paths"]) == (1, "Conflicted", ["deploy.sh"])
    assert heads(promoted_shop) == before


def test_a_server_that_is_gone_is_neither_yes_nor_no(shop: Shop):
    shop.dev.bare.rename(shop.root / "moved.git")
    done = dataops("promote", "staging")
    assert done.code == 3
    assert "hint: check workspaces.dev.repository" in done.err
    done = dataops("--json", "promote", "staging")
    assert (done.code, done.json["error"]["kind"]) == (3, "ToolError")


@pytest.mark.parametrize("target", ["dev", "nowhere", "other/prod", "", "/", "-", "[red]x"])
@pytest.mark.parametrize("command", ["plan", "promote", "log"])
def test_a_target_that_is_none_is_answered_with_all(tmp_path, command, target):
    (tmp_path / "dataops.yaml").write_text(SHOP)
    done = dataops("--json", command, "--", target)
    assert done.code == 2
    (problem,) = done.json["error"]["problems"]
    assert problem["hint"] == "name one of shop/staging, shop/prod"


def test_a_target_of_one_name_in_two_projects_must_be_named_with_its_project(tmp_path, shop: Shop):
    other = tmp_path / "other"
    other.mkdir()
    make_shop(other, SHOP.replace("project: shop", "project: store"))
    paths = [f"--config={folder / 'dataops.yaml'}" for folder in (tmp_path, other)]
    done = dataops("--json", *paths, "plan", "staging")
    assert done.code == 2
    assert "stands in several projects" in done.json["error"]["message"]
    assert dataops("--json", *paths, "plan", "shop/staging").json["plan"]["project"] == "shop"
    assert shop.staging.tags() == []


# --- log --------------------------------------------------------------------------------------


def test_log_shows_the_releases_newest_first(staged: Shop):
    first = staged.staging.head
    staged.dev.commit({"x": "1\n"})
    staged.promote("staging", now=NOW + timedelta(seconds=1))
    done = dataops("--json", "log", "staging")
    assert done.code == 0
    assert [r["commit"] for r in done.json] == [staged.staging.head, first]
    assert staged.staging.head[:12] in dataops("log", "staging").out


@pytest.mark.usefixtures("shop")
def test_log_of_a_target_without_releases_is_empty():
    assert (dataops("--json", "log", "prod").json, dataops("log", "prod").code) == ([], 0)


# --- schema -----------------------------------------------------------------------------------


def test_schema_needs_no_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = dataops("schema")
    assert done.code == 0
    assert done.json == config.schema()
    jsonschema.Draft202012Validator.check_schema(done.json)


# --- mistakes ---------------------------------------------------------------------------------

COMMANDS = [["check"], ["status"], ["plan", "prod"], ["promote", "prod"], ["log", "prod"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_every_command_tells_mistakes_in_the_configuration(tmp_path, command):
    path = tmp_path / "dataops.yaml"
    path.write_text("project: shop\nworkspaces:\n  dev: {repository: x, branch: a..b}\n")
    done = dataops(*command)
    assert (done.code, done.out) == (2, "")
    assert f"{path}:3: workspaces.dev.branch: is not a branch name" in done.err
    assert "hint: name a branch, such as main" in done.err
    done = dataops("--json", *command)
    assert (done.code, done.err) == (2, "")
    assert done.json["error"]["kind"] == "ConfigError"
    assert {p["where"] for p in done.json["error"]["problems"]} == {
        f"{path}:3: workspaces.dev.{key}" for key in ("branch", "environment", "repository")
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_every_command_says_that_there_is_no_configuration(command):
    done = dataops(*command)
    assert done.code == 2
    assert "dataops.yaml: No such file or directory" in done.err


@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense"], ["plan"], ["plan", "a", "b"]])
def test_a_call_that_is_none_is_answered_with_how_to_call(arguments):
    done = dataops(*arguments)
    assert done.code == 2
    assert "Usage:" in done.err


def test_help_and_version_need_nothing():
    assert dataops("--version").out.strip().endswith(dataops_dagster.__version__)
    done = dataops("--help")
    for command in ("check", "status", "plan", "promote", "log", "schema"):
        assert command in done.out


# --- hostile text -----------------------------------------------------------------------------


def hostile(shop: Shop) -> None:
    """Commit text that would steer a terminal, or rich."""
    git(shop.dev.clone, "config", "user.name", "unused")
    shop.dev.commit({"a[bold]b": "x\n", "[/]": "x\n", "\x1b[2Jclear": "x\n"}, HOSTILE)


def is_inert(text: str) -> bool:
    return all(c in {"\n", "\t"} or c.isprintable() for c in text) and "\u202e" not in text


@pytest.mark.parametrize("mode", [(), ("--json",)])
def test_what_commits_say_neither_steers_the_terminal_nor_is_markup(shop: Shop, mode):
    hostile(shop)
    for command in (("plan", "staging"), ("promote", "staging"), ("log", "staging"), ("check",)):
        done = dataops(*mode, *command)
        assert done.code == 0
        assert is_inert(done.out)
        if "plan" in command:
            assert "[red]alert[/]" in done.out
            assert "a[bold]b" in done.out


def test_what_a_server_says_neither_steers_the_terminal_nor_is_markup(shop: Shop):
    hook = shop.staging.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nprintf '[red]no[/] \\033[31m[/] entry\\n' >&2\nexit 1\n")
    hook.chmod(0o755)
    done = dataops("promote", "staging")
    assert done.code == 1
    assert is_inert(done.out)
    assert "[red]no[/]" in done.out.replace("\n", "")


@pytest.mark.slow
@pytest.mark.usefixtures("empty_home")
def test_a_reason_for_an_override_neither_steers_the_terminal_nor_is_markup(staged: Shop):
    done = dataops("promote", "prod", "--override", HOSTILE)
    assert done.code == 0
    assert is_inert(done.out)
    assert is_inert(dataops("log", "prod").out)
    assert len(staged.prod.tags()) == 1


def test_a_forged_release_neither_steers_the_terminal_nor_is_believed(staged: Shop):
    (tag,) = staged.staging.tags()
    text = git(staged.staging.bare, "tag", "--list", "--format=%(contents)", tag)
    text = text.replace("Equality: same tree", "Equality: \x1b[31m[red]\u202e[/]")
    forged = tag.replace("2026", "2027")
    git(staged.staging.bare, "config", "user.name", "Mallory")
    git(staged.staging.bare, "tag", "--annotate", "--message", text, forged, staged.staging.head)
    git(staged.staging.bare, "tag", forged + "-light", staged.staging.head)
    done = dataops("log", "staging")
    assert done.code == 0
    assert is_inert(done.out)


# --- as a program -----------------------------------------------------------------------------


def test_dagster_is_not_imported_for_what_does_not_need_it():
    script = "import sys, dataops_dagster.cli; print('dagster' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(dataops_dagster.__file__).parent.parent)},
    )
    assert done.stdout.strip() == "False"


def test_the_program_ends_with_its_code_and_without_a_traceback(tmp_path):
    script = "from dataops_dagster.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--config", str(tmp_path / "no.yaml"), "check"],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(dataops_dagster.__file__).parent.parent)},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"dataops: {tmp_path}/no.yaml: No such file or directory")
