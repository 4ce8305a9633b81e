"""Every mistake in dataops.yaml is told once: where it is, what is wrong, and how to mend it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataops_dagster
from dataops_dagster import config
from dataops_dagster.errors import ConfigError, Problem
from dataops_dagster.settings import Project, Ssh, Supersede
from dataops_dagster.settings_gate import FanIn, TreeRule
from tests.conftest import SHOP

SECRET = "hunter2-hunter2"
PACKAGE = Path(dataops_dagster.__file__).parent


def file(tmp_path: Path, text: str | bytes, name: str = "dataops.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def mistakes(path: Path) -> tuple[Problem, ...]:
    """Load a file that is wrong; returns its problems, each of which is complete."""
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    problems = caught.value.problems
    assert problems
    for problem in problems:
        assert problem.where.startswith(str(path))
        assert problem.problem
        assert problem.hint
        assert str(problem) in str(caught.value)
    return problems


def only(tmp_path: Path, text: str | bytes) -> Problem:
    """Load a file with a single mistake."""
    (problem,) = mistakes(file(tmp_path, text))
    return problem


def place(tmp_path: Path, line: int, keys: str = "") -> str:
    return f"{tmp_path}/dataops.yaml:{line}{f': {keys}' if keys else ''}"


def dev(*lines: str, repository: str = "https://example.com/dev.git") -> str:
    """Return a file with one workspace; `lines` begin at line 6."""
    head = [
        "project: shop",
        "workspaces:",
        "  dev:",
        f"    repository: {json.dumps(repository)}",
        "    environment: dev",
    ]
    return "\n".join([*head, *(f"    {line}" for line in lines)]) + "\n"


def pair(*lines: str, upstream: str = "dev") -> str:
    """Return a file with dev and prod; `lines` are prod's, beginning at line 10."""
    head = [
        "  prod:",
        "    repository: https://example.com/prod.git",
        "    environment: prod",
        f"    upstream: {upstream}",
    ]
    run = "run: {platform: command, command: [sh, run.sh]}"
    return dev(run) + "\n".join([*head, *(f"    {line}" for line in lines)]) + "\n"


# --- the file ---------------------------------------------------------------------------------


def test_a_file_without_mistakes_becomes_a_project(tmp_path):
    project = config.load(file(tmp_path, SHOP))
    assert project.name == "shop"
    assert [w.name for w in project.targets] == ["staging", "prod"]
    assert project.upstream_of(project.workspaces["prod"]).name == "staging"


def test_a_missing_file_is_named(tmp_path):
    (problem,) = mistakes(tmp_path / "dataops.yaml")
    assert problem.problem == "No such file or directory"
    assert "--config" in problem.hint


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    assert mistakes(tmp_path)[0].problem == "Is a directory"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "~\n", "- shop\n", "shop\n", "42\n"])
def test_what_is_no_mapping_says_how_to_begin(tmp_path, text):
    problem = only(tmp_path, text)
    assert problem.problem == "is not a mapping"
    assert "project: NAME" in problem.hint


def test_a_file_that_is_not_utf_8_names_the_byte(tmp_path):
    problem = only(tmp_path, b"project: caf\xe9\n")
    assert problem.problem == "byte 12 is not UTF-8"


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path):
    path = file(tmp_path, "#")
    with path.open("r+b") as stream:
        stream.truncate(2**40)  # a sparse file: reading it would not end
    assert "is larger than" in mistakes(path)[0].problem


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path):
    problem = only(tmp_path, dev("branch: main", "branch: other"))
    assert problem.where == place(tmp_path, 7)
    assert problem.problem == "the key branch stands here twice"


def test_a_workspace_that_stands_twice_is_named_with_its_line(tmp_path):
    problem = only(tmp_path, dev() + "  dev:\n    repository: x\n")
    assert problem.where == place(tmp_path, 6)
    assert problem.problem == "the key dev stands here twice"


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [touch OWNED]",
        "!!python/object/new:subprocess.Popen [[touch, OWNED]]",
        "!!python/name:os.system",
        "!!python/module:antigravity",
        "!include secrets.yaml",
    ],
)
def test_yaml_tags_make_no_objects(tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    problem = only(tmp_path, f"project: shop\nworkspaces: {tag}\n")
    assert problem.where == place(tmp_path, 2)
    assert "tag" in problem.problem
    assert not (tmp_path / "OWNED").exists()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("project: [\n", id="an open bracket"),
        pytest.param("project: shop\n\tworkspaces: 1\n", id="a tab"),
        pytest.param("project: a\0b\n", id="a NUL"),
        pytest.param("project: *nowhere\n", id="an unknown alias"),
        pytest.param("&a {project: *a}\n", id="a mapping inside itself"),
        pytest.param("project: shop\n---\nproject: other\n", id="two documents"),
        pytest.param("project: " + "[" * 5000, id="deep nesting"),
        pytest.param("? [a, b]\n: 1\n", id="a list as key"),
        pytest.param("project: shop\nworkspaces:\n  ? {a: b}\n  : 1\n", id="a mapping as key"),
        pytest.param("project: 2020-13-41\n", id="a date that does not exist"),
        pytest.param("project: !!int abc\n", id="a number that is none"),
        pytest.param("project: !!bool perhaps\n", id="a truth value that is none"),
        pytest.param(f"project: {'9' * 5000}\n", id="a number too long to read"),
    ],
)
def test_junk_is_a_clear_error(tmp_path, text):
    mistakes(file(tmp_path, text))


def test_an_alias_bomb_is_told_quickly(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    problems = mistakes(file(tmp_path, "\n".join(lines) + "\n" + dev()))
    assert len(problems) == 30
    assert all(len(str(problem)) < 500 for problem in problems)


# --- single keys ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "keys", "problem", "hint"),
    [
        ("enviroment: x", "enviroment", "is an unknown key", "did you mean environment?"),
        (
            "colour: red",
            "colour",
            "is an unknown key",
            "known keys here: auto_rollback, branch, credential",
        ),
        ("name: other", "name", "is an unknown key", "known keys here"),
        ("branch: 7", "branch", "text", "quote it"),
        ('branch: ""', "branch", "is empty", "leave the key out"),
        (r'branch: "a\x1bb"', "branch", "characters that are not allowed", "control characters"),
        ("run: {}", "run", "names no known platform", "command, meltano"),
        ("run: {platform: dbt}", "run", "names no known platform", "command, meltano"),
        (
            "run: {platform: command, command: [x], comand: [x]}",
            "run.comand",
            "is an unknown key",
            "did you mean command?",
        ),
        (
            "run: {platform: command}",
            "run.command",
            "is missing",
            "add command",
        ),
        (
            "run: {platform: command, command: []}",
            "run.command",
            "is empty",
            "at least one item",
        ),
        (
            'run: {platform: command, command: ["a\\0b"]}',
            "run.command.0",
            "characters that are not allowed",
            "remove",
        ),
        (
            "run: {platform: meltano, run: [--full-refresh]}",
            "run.run.0",
            "characters that are not allowed",
            "leading punctuation",
        ),
        (
            "run: {platform: command, command: [x], variables: [A-B]}",
            "run.variables.0",
            "characters that are not allowed",
            "name an environment variable",
        ),
        (
            "credential: {username: a, password_variable: not-a-name}",
            "credential.password_variable",
            "characters that are not allowed",
            "never write the secret itself",
        ),
        ("gate: {enviroment: x}", "gate.enviroment", "is an unknown key", "environment?"),
        ("owners: [ada]", "owners.0", "neither an e-mail address nor team:NAME", "schema"),
        ("owners: ada@example.com", "owners", "should be a list", "write [first, second]"),
        ("tags: {a b: c}", "tags", "keys and values have letters, digits", "schema"),
        ("tags: {dagster/run_key: x}", "tags", "which is Dagster's own", "schema"),
        (
            "run: {platform: command, command: [x], produces: [a//b]}",
            "run.produces.0",
            "characters that are not allowed",
            "with / between its parts",
        ),
        (
            "run: {platform: command, command: [x], produces: [shop/dev]}",
            "run.produces",
            "shop/dev is below shop/",
            "another key",
        ),
        ("tags: {tier: 1}", "tags.tier", "should be text", "quote it"),
    ],
)
def test_a_mistake_in_a_key_is_told_with_its_place_and_a_hint(tmp_path, line, keys, problem, hint):
    found = mistakes(file(tmp_path, dev(line)))[0]
    assert found.where == place(tmp_path, 6, f"workspaces.dev.{keys}")
    assert problem in found.problem
    assert hint in found.hint


OWNERS = [
    "ada@example.com",
    "team:ops",
    "team: ",
    "team:",
    "ada",
    "+a@b.ch",
    "a@b.technology",
    "@b.ch",
]
TAGS = ["tier", "acme/tier", "a/b/c", "", "x" * 63, "x" * 64, "a b", "é", "-", "acme/"]


@pytest.mark.parametrize("owner", OWNERS)
def test_owners_are_those_that_dagster_takes(tmp_path, owner):
    assert is_loadable(tmp_path, f"owners: [{json.dumps(owner)}]") == is_spec(owners=[owner])


@pytest.mark.parametrize("text", TAGS)
def test_tags_are_those_that_dagster_takes(tmp_path, text):
    assert is_loadable(tmp_path, f"tags: {json.dumps({text: ''})}") == is_spec(tags={text: ""})
    assert is_loadable(tmp_path, f"tags: {json.dumps({'a': text})}") == is_spec(tags={"a": text})


def is_loadable(tmp_path: Path, line: str) -> bool:
    try:
        return bool(config.load(file(tmp_path, dev(line))))
    except ConfigError:
        return False


def is_spec(**attributes) -> bool:
    try:
        return bool(dg.AssetSpec("key", **attributes))
    except dg.DagsterInvalidDefinitionError:
        return False


@pytest.mark.parametrize("key", ["project", "workspaces"])
def test_a_missing_top_level_key_is_named(tmp_path, key):
    data = yaml.safe_load(dev())
    del data[key]
    problem = only(tmp_path, yaml.safe_dump(data))
    assert (problem.where, problem.problem) == (place(tmp_path, 1, key), "is missing")


@pytest.mark.parametrize("value", ["1", "[dev]", "dev", "~", "{dev: ~}", "{dev: [1]}", "{1: {}}"])
def test_workspaces_of_another_form_are_refused(tmp_path, value):
    problem = mistakes(file(tmp_path, f"project: shop\nworkspaces: {value}\n"))[0]
    assert problem.where.startswith(place(tmp_path, 2, "workspaces"))


@pytest.mark.parametrize("name", ["a__b", "_a", "a_", "1a", "a-b", "a/b", "é", '"a\\n"', "a" * 61])
def test_a_name_that_could_not_be_part_of_refs_and_asset_keys_is_refused(tmp_path, name):
    assert only(tmp_path, dev().replace("shop", name)).where == place(tmp_path, 1, "project")
    problem = only(tmp_path, dev().replace("  dev:", f"  {name}:"))
    assert problem.where.startswith(place(tmp_path, 3, "workspaces."))


@pytest.mark.parametrize("name", ["-x", "--project", "a b", ".a", "a\\nb", ""])
def test_an_environment_that_could_pass_for_an_option_is_refused(tmp_path, name):
    problem = only(tmp_path, dev().replace("environment: dev", f'environment: "{name}"'))
    assert problem.where == place(tmp_path, 5, "workspaces.dev.environment")


@pytest.mark.parametrize(
    "deadline",
    [
        "60",
        "1 hour",
        "-1m",
        "m",
        "1.5h",
        "1m30s",
        "PT1H",
        '""',
        "~",
        "99999999999d",
        "9" * 40 + "s",
    ],
)
def test_what_is_no_duration_is_refused(tmp_path, deadline):
    line = f"run: {{platform: command, command: [x], deadline: {deadline}}}"
    problem = only(tmp_path, dev(line))
    assert problem.where == place(tmp_path, 6, "workspaces.dev.run.deadline")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("2 h", 7200), ("1d", 86400)]
)
def test_a_duration_is_a_number_and_a_unit(tmp_path, text, seconds):
    line = f"run: {{platform: command, command: [x], deadline: {text}}}"
    run = config.load(file(tmp_path, dev(line))).workspaces["dev"].run
    assert run.deadline.total_seconds() == seconds


@pytest.mark.parametrize("when", ["61 * * * *", "* * * *", "* * * * * *", "@daily", "always", "x"])
def test_what_is_no_schedule_is_refused(tmp_path, when):
    problem = only(tmp_path, pair(f'promote: "{when}"'))
    assert problem.where == place(tmp_path, 11, "workspaces.prod.promote")
    assert "cron" in str(problem)
    line = f'run: {{platform: command, command: [x], when: "{when}"}}'
    problem = only(tmp_path, dev(line))
    assert problem.where == place(tmp_path, 6, "workspaces.dev.run.when")


@pytest.mark.parametrize("when", ["manual", "change", "0 6 * * 1-5", "*/10 * * * *"])
def test_a_schedule_is_manual_change_or_cron(tmp_path, when):
    project = config.load(file(tmp_path, pair(f'promote: "{when}"')))
    assert project.workspaces["prod"].promote == when


@pytest.mark.parametrize(
    "branch",
    [
        *(
            "-x",
            "--upload-pack=x",
            "a..b",
            "a@{1}",
            "a b",
            "/a",
            "a/",
            "a//b",
            "a.lock",
            "a.lock/b",
        ),
        *("a/.b", ".a", "a.", "@", "a:b", "a~1", "a^", "a?", "a*", "a[", "a\\\\b"),
    ],
)
def test_what_is_no_branch_name_is_refused(tmp_path, branch):
    problem = only(tmp_path, dev(f'branch: "{branch}"'))
    assert problem.where == place(tmp_path, 6, "workspaces.dev.branch")
    assert problem.problem == "is not a branch name"


@pytest.mark.parametrize("branch", ["main", "release/2026.11", "feature-1", "größe", "a@b"])
def test_a_branch_may_have_any_name_that_git_allows(tmp_path, branch):
    project = config.load(file(tmp_path, dev(f'branch: "{branch}"')))
    assert project.workspaces["dev"].branch == branch


# --- gates ------------------------------------------------------------------------------------

WHOLE_GATE = """\
gate:
  environment: dev
  runs: 2
  max_age: 7d
  jobs: [elt, other_location:elt]
  tested_tree: retest
  upstreams: any
  soak: 1h
  windows:
    - {cron: "0 9 * * 1-5", lasts: 8h, time_zone: Europe/Zurich}
    - {from: 2026-12-24, to: "2026-12-24 18:00", reason: the last day}
  freezes:
    - {from: "2026-12-24T00:00:00+01:00", to: 2027-01-02}
  approvals: {quorum: 2, expires: 2d, exclude_authors: false, allowed_signers: signers}
  lint: {ignore: [duplicate-key]}
  predicate: shop.policy:may_land
supersede: every
auto_rollback: true
"""


def whole_gate() -> str:
    deploy = "    deploy: {platform: command, command: [sh, deploy.sh]}\n  prod:"
    return pair(*WHOLE_GATE.splitlines()).replace("  prod:", deploy)


def test_every_key_of_a_gate_is_read_as_it_is_written(tmp_path):
    prod = config.load(file(tmp_path, whole_gate())).workspaces["prod"]
    gate = prod.gate
    assert (prod.supersede, prod.auto_rollback) == (Supersede.EVERY, True)
    assert (gate.runs, gate.max_age, gate.soak) == (2, timedelta(days=7), timedelta(hours=1))
    assert (gate.tested_tree, gate.upstreams) == (TreeRule.RETEST, FanIn.ANY)
    assert gate.jobs == ("elt", "other_location:elt")
    office, last_day = gate.windows
    assert (office.cron, office.lasts) == ("0 9 * * 1-5", timedelta(hours=8))
    assert last_day.at(last_day.begin) == datetime(2026, 12, 24, tzinfo=timezone.utc)
    assert last_day.at(last_day.end) == datetime(2026, 12, 24, 18, tzinfo=timezone.utc)
    (freeze,) = gate.freezes
    assert freeze.at(freeze.begin) == datetime(2026, 12, 23, 23, tzinfo=timezone.utc)
    assert gate.approvals.allowed_signers == str(tmp_path / "signers")
    assert gate.lint.ignore == ("duplicate-key",)


BOTH_OR_NEITHER = "say from and to, or cron and lasts"
NO_DURATION = "write a duration as a whole number and s, m, h or d"
NO_MOMENT = "write a date or a time"


@pytest.mark.parametrize(
    ("period", "below", "problem", "hint"),
    [
        ("{cron: 0 9 * * *, lasts: 8h, colour: 1}", ".colour", "unknown key", "known keys here:"),
        ("{cron: 0 9 * * *, last: 8h}", ".last", "is an unknown key", "did you mean lasts?"),
        ("{begin: 2026-01-01, to: 2026-01-02}", ".begin", "is an unknown key", "cron, from, lasts"),
        ("{cron: 0 9 * * *, lasts: 8h, from: 2026-01-01}", "", BOTH_OR_NEITHER, "schema"),
        ("{from: 2026-01-01}", "", BOTH_OR_NEITHER, "schema"),
        ("{cron: 0 9 * * *}", "", BOTH_OR_NEITHER, "schema"),
        ("{from: 2026-01-01, lasts: 1h}", "", BOTH_OR_NEITHER, "schema"),
        ("{}", "", BOTH_OR_NEITHER, "schema"),
        ("7", "", "should be a mapping", "write its keys below it"),
        ("{from: 2026-01-02, to: 2026-01-01}", "", "is over before it begins", "schema"),
        ("{from: 2026-01-02, to: 2026-01-02}", "", "is over before it begins", "schema"),
        (
            "{from: 2026-01-01 12:00, to: '2026-01-01T12:30+01:00'}",
            "",
            "is over before it begins",
            "schema",
        ),
        (
            "{from: 2026-03-29 02:30, to: 2026-03-29 03:15, time_zone: Europe/Zurich}",
            "",
            "is over before it begins",
            "schema",
        ),
        ("{from: soon, to: 2026-01-01}", ".from", NO_MOMENT, "schema"),
        ("{from: 2026-01-01, to: 18:00}", ".to", NO_MOMENT, "schema"),
        ("{from: 2026-01-01, to: 9999-12-31}", ".to", "a year from 1970 to 2999", "schema"),
        ("{cron: 0 9 * *, lasts: 1h}", ".cron", "is no five-field cron schedule", "schema"),
        ("{cron: 0 0 30 2 *, lasts: 1h}", ".cron", "is no five-field cron schedule", "schema"),
        ("{cron: 0 0 LW * */6, lasts: 1h}", ".cron", "is no five-field cron schedule", "schema"),
        ("{cron: change, lasts: 1h}", ".cron", "is no five-field cron schedule", "schema"),
        ("{cron: 0 9 * * *, lasts: 0m}", ".lasts", NO_DURATION, "schema"),
        ("{cron: 0 9 * * *, lasts: 99999d}", ".lasts", "longer than anybody waits", "schema"),
        (
            "{cron: 0 9 * * *, lasts: 1h, time_zone: Europe/Zurch}",
            ".time_zone",
            "no time",
            "schema",
        ),
        ("{cron: 0 9 * * *, lasts: 1h, time_zone: Europe}", ".time_zone", "no time zone", "schema"),
        ("{cron: 0 9 * * *, lasts: 1h, time_zone: ../UTC}", ".time_zone", "no time zone", "schema"),
        ("{cron: 0 9 * * *, lasts: 1h, time_zone: 1}", ".time_zone", "should be text", "quote it"),
        ("{cron: 0 9 * * *, lasts: 1h, reason: ''}", ".reason", "is empty", "leave the key out"),
    ],
)
def test_a_mistake_in_a_period_is_told_with_its_line_and_its_number(
    tmp_path, period, below, problem, hint
):
    good = "{cron: 0 9 * * *, lasts: 1h}"
    for key in ("windows", "freezes"):
        found = only(tmp_path, pair("gate:", f"  {key}:", f"    - {good}", f"    - {period}"))
        assert found.where == place(tmp_path, 14, f"workspaces.prod.gate.{key}.1{below}")
        assert problem in found.problem
        assert hint in found.hint


@pytest.mark.parametrize(
    ("line", "keys", "problem", "hint"),
    [
        ("gate: 7", "gate", "should be a mapping", "write its keys below it"),
        ("gate: {windows: {cron: x}}", "gate.windows", "should be a list", "one item a line"),
        ("gate: {freezes: 7}", "gate.freezes", "should be a list", "one item a line"),
        ("gate: {window: []}", "gate.window", "is an unknown key", "did you mean windows?"),
        ("gate: {runs: -1}", "gate.runs", "greater than or equal to 0", "schema"),
        ("gate: {runs: 11}", "gate.runs", "less than or equal to 10", "schema"),
        ("gate: {runs: 1.5}", "gate.runs", "valid integer", "schema"),
        ("gate: {runs: yes}", "gate.runs", "valid integer", "schema"),
        ("gate: {max_age: 7}", "gate.max_age", NO_DURATION, "schema"),
        ("gate: {soak: 0m}", "gate.soak", NO_DURATION, "schema"),
        ("gate: {soak: 36501d}", "gate.soak", "is longer than anybody waits", "schema"),
        ("gate: {tested_tree: sme}", "gate.tested_tree", "'same', 'explained', 'retest'", "schema"),
        ("gate: {upstreams: some}", "gate.upstreams", "'all' or 'any'", "schema"),
        ("gate: {approvals: true}", "gate.approvals", "should be a mapping", "write its keys"),
        ("gate: {approvals: {quorum: 0}}", "gate.approvals.quorum", "equal to 1", "schema"),
        ("gate: {approvals: {quorum: 21}}", "gate.approvals.quorum", "equal to 20", "schema"),
        ("gate: {approvals: {quorm: 2}}", "gate.approvals.quorm", "unknown key", "mean quorum?"),
        ("gate: {approvals: {expires: soon}}", "gate.approvals.expires", NO_DURATION, "schema"),
        (
            "gate: {approvals: {exclude_authors: 1}}",
            "gate.approvals.exclude_authors",
            "should be true or false",
            "unquoted",
        ),
        (
            "gate: {approvals: {allowed_signers: ''}}",
            "gate.approvals.allowed_signers",
            "is empty",
            "leave the key out",
        ),
        ("gate: {lint: true}", "gate.lint", "should be a mapping", "write its keys below it"),
        (
            "gate: {lint: {rules: [yaml]}}",
            "gate.lint.rules",
            "is an unknown key",
            "here: ignore, level",
        ),
        ("gate: {lint: {ignore: yaml}}", "gate.lint.ignore", "should be a list", "one item a line"),
        (
            "gate: {lint: {ignore: [yaml, yml]}}",
            "gate.lint.ignore",
            "there is no rule yml",
            "name one of conflict-marker, yaml, duplicate-key",
        ),
        ("gate: {predicate: 7}", "gate.predicate", "should be text", "quote it"),
        (
            "gate: {predicate: shop.policy.may_land}",
            "gate.predicate",
            "characters that are not allowed",
            "module:function",
        ),
        ("gate: {jobs: elt}", "gate.jobs", "should be a list", "one item a line"),
        (
            "gate: {jobs: [e l t]}",
            "gate.jobs.0",
            "characters that are not allowed",
            "name a job as JOB, or LOCATION:JOB",
        ),
        (
            "gate: {jobs: [elt]}",
            "gate.jobs",
            "nobody can say at which commit of dev they ran",
            "say under workspaces.dev.deploy",
        ),
        (
            "gate: {environment: prod}",
            "gate.environment",
            "dev is never run in environment prod",
            "name its environment, dev",
        ),
        ("supersede: newest", "supersede", "'latest' or 'every'", "schema"),
        ("auto_rollback: 1", "auto_rollback", "should be true or false", "unquoted"),
    ],
)
def test_a_mistake_in_a_gate_is_told_with_its_place_and_a_hint(tmp_path, line, keys, problem, hint):
    found = only(tmp_path, pair(line))
    assert found.where == place(tmp_path, 11, f"workspaces.prod.{keys}")
    assert problem in found.problem
    assert hint in found.hint


@pytest.mark.parametrize(
    "line", ["environment: dev", "max_age: 1h", "jobs: [elt]", "tested_tree: same", "soak: 1h"]
)
def test_what_is_said_of_runs_needs_a_run(tmp_path, line):
    problem = only(tmp_path, pair("gate:", "  runs: 0", f"  {line}"))
    key = line.split(":")[0]
    assert problem == Problem(
        place(tmp_path, 13, f"workspaces.prod.gate.{key}"),
        "has no meaning where runs is 0",
        "remove it, or ask for a run",
    )


def test_a_gate_that_asks_for_no_run_needs_none(tmp_path):
    text = pair("gate: {runs: 0}").replace("run: {platform: command", "deploy: {platform: command")
    assert config.load(file(tmp_path, text)).workspaces["prod"].gate.runs == 0


def test_a_retest_needs_a_run_of_the_first_upstream(tmp_path):
    text = pair("gate: {tested_tree: retest, jobs: [elt]}").replace("    run:", "    deploy:")
    problem = only(tmp_path, text)
    assert problem.where == place(tmp_path, 11, "workspaces.prod.gate.tested_tree")
    assert problem.hint == "say under workspaces.dev.run what a run is"


# --- repositories -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@example.com/dev.git",
        f"https://{SECRET}@example.com/dev.git",
        f"https://{SECRET}:x-oauth-basic@example.com/dev.git",
        f"HTTPS://user:{SECRET}@example.com/dev.git",
        f"http://user:{SECRET}@example.com/dev.git",
        f"ssh://git:{SECRET}@example.com/dev.git",
        f"file://user:{SECRET}@localhost/dev.git",
    ],
)
def test_credentials_inside_a_url_are_refused_and_never_repeated(tmp_path, url):
    with pytest.raises(ConfigError) as caught:
        config.load(file(tmp_path, dev(repository=url)))
    (problem,) = caught.value.problems
    assert problem.where == place(tmp_path, 4, "workspaces.dev.repository")
    assert problem.problem == "has credentials inside the URL"
    assert "revoke" in problem.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        dev(repository=f"https://user:{SECRET}@[bad/dev.git"),
        dev(repository=f"https://example.com/dev.git?token={SECRET}"),
        dev(f"credential: {{username: a, password_variable: {SECRET}}}"),
        dev(f"credential: {{username: a, password: {SECRET}}}"),
        dev(f"credential: {SECRET}"),
        dev(f"credential: [{SECRET}]"),
        dev(f"run: {SECRET}"),
        dev(f"run: {{platform: {SECRET}}}"),
        dev(f"branch: {{{SECRET}: 1}}"),
    ],
)
def test_no_value_is_repeated_in_an_error_for_it_may_be_a_secret(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        config.load(file(tmp_path, text))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("http://example.com/dev.git", "http"),
        ("file:///srv/dev.git", "file"),
        ("/srv/dev.git", "file"),
        ("../dev.git", "file"),
    ],
)
def test_a_protocol_must_be_asked_for(tmp_path, url, used):
    problem = only(tmp_path, dev(repository=url))
    assert problem.where == place(tmp_path, 4, "workspaces.dev.repository")
    assert problem.problem == f"is reached by {used}, which is not allowed"
    assert f"protocols: [https, ssh, {used}]" in problem.hint
    config.load(file(tmp_path, dev(repository=url) + f"protocols: [https, ssh, {used}]\n"))


@pytest.mark.parametrize(
    ("url", "protocol", "other"),
    [
        ("https://example.com/dev.git", "https", "credential:"),
        ("http://example.com/dev.git", "http", "credential:"),
        ("/srv/dev.git", "file", "remove it"),
    ],
)
def test_a_key_is_for_ssh_and_a_login_is_for_https(tmp_path, url, protocol, other):
    text = dev("ssh: {key: keys/dev}", repository=url) + "protocols: [https, ssh, http, file]\n"
    problem = only(tmp_path, text)
    assert problem.where == place(tmp_path, 6, "workspaces.dev.ssh")
    assert problem.problem == f"is for ssh; this repository is reached by {protocol}"
    assert other in problem.hint
    login = "credential: {username: ada, password_variable: TOKEN}"
    problem = only(tmp_path, dev(login, repository="git@example.com:dev.git"))
    assert problem.where == place(tmp_path, 6, "workspaces.dev.credential")
    assert "under ssh:" in problem.hint


NO_PATHS = ("~/.ssh/key", "%d/.ssh/key", "${HOME}/key", 'a"b', "a\\b")
KEY = "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1r"


@pytest.mark.parametrize(
    ("keys", "where", "problem", "hint"),
    [
        ("known_hosts: h", "ssh.key", "is missing", "add key"),
        ("key: k, known_host: h", "ssh.known_host", "is an unknown key", "mean known_hosts?"),
        ("key: ''", "ssh.key", "is empty", "write its value"),
        *((f"key: '{key}'", "ssh.key", "write a path without", "schema") for key in NO_PATHS),
        ("key: k, known_hosts: ~/h", "ssh.known_hosts", "write a path without", "schema"),
        (f"key: '{KEY}'", "ssh.key", "is a key: put it into a file", "schema"),
    ],
)
def test_a_key_is_the_plain_name_of_a_file(tmp_path, keys, where, problem, hint):
    found = only(tmp_path, dev(f"ssh: {{{keys}}}", repository="git@example.com:dev.git"))
    assert found.where == place(tmp_path, 6, f"workspaces.dev.{where}")
    assert problem in found.problem
    assert hint in found.hint
    assert KEY not in str(found)


def test_the_files_that_ssh_takes_are_seen_from_the_file_that_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hosts = {"": None, ", known_hosts: hosts": f"{tmp_path}/hosts", ", known_hosts: /h": "/h"}
    for more, known_hosts in hosts.items():
        line = f"ssh: {{key: ../keys of ada/dev{more}}}"
        file(tmp_path, dev(line, repository="git@example.com:dev.git"))
        found = config.load(Path("dataops.yaml")).workspaces["dev"].ssh
        assert found == Ssh(key=f"{tmp_path}/../keys of ada/dev", known_hosts=known_hosts)


@pytest.mark.parametrize(
    "url",
    [
        *("ext::sh -c 'touch OWNED'", "fd::17", "http::x", "file::/srv/dev.git", "ext://x"),
        *("git://example.com/x", "ftp://example.com/x", "git+ssh://example.com/x", "://x"),
        *("-x", "--upload-pack=touch OWNED", "-oProxyCommand=x:y", "-example.com:x"),
        *("ssh://-oProxyCommand=x/y", "ssh://git@-oProxyCommand=x/y", "git@-oProxyCommand:x"),
        *("https://example.com/a%0ab", "https://example.com/a%0Db", "https://example.com/a#b"),
        *("https://[::1/x", "https://"),
    ],
)
def test_helpers_and_options_are_no_repositories_whatever_is_allowed(tmp_path, url):
    text = dev(repository=url) + "protocols: [https, ssh, http, file]\n"
    problem = only(tmp_path, text)
    assert problem.where == place(tmp_path, 4, "workspaces.dev.repository")


@pytest.mark.parametrize("name", ["ext", "git", "HTTPS", "[https]"])
def test_a_protocol_that_is_none_of_ours_is_refused(tmp_path, name):
    problem = only(tmp_path, dev() + f"protocols: [https, {name}]\n")
    assert problem.where == place(tmp_path, 6, "protocols.1")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/dev.git",
        "https://example.com:8443/dev.git",
        "ssh://git@example.com/dev.git",
        "ssh://git@example.com:2222/~ada/dev.git",
        "git@example.com:team/dev.git",
        "git@example.com:/srv/git/dev.git",
        "example.com:dev.git",
    ],
)
def test_urls_of_servers_stay_as_they_are_written(tmp_path, url):
    assert config.load(file(tmp_path, dev(repository=url))).workspaces["dev"].repository == url


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("dev.git", "{folder}/dev.git"),
        ("./dev.git", "{folder}/dev.git"),
        ("../dev.git", "{parent}/dev.git"),
        ("a b/ä.git", "{folder}/a%20b/%C3%A4.git"),
        ("/srv/dev.git", "/srv/dev.git"),
        ("~/dev.git", "{home}/dev.git"),
    ],
)
def test_paths_of_repositories_are_relative_to_the_file(tmp_path, monkeypatch, written, meant):
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = file(folder, dev(repository=written) + "protocols: [file]\n")
    monkeypatch.chdir(tmp_path)
    expected = meant.format(folder=folder, parent=tmp_path, home=tmp_path / "home")
    for name in (path, path.relative_to(tmp_path)):
        assert config.load(name).workspaces["dev"].repository == f"file://{expected}"


def test_the_home_of_nobody_is_a_clear_error(tmp_path):
    text = dev(repository="~nobody-has-this-name/dev.git") + "protocols: [file]\n"
    assert only(tmp_path, text).where == place(tmp_path, 4, "workspaces.dev.repository")


# --- between the keys -------------------------------------------------------------------------


def test_an_unknown_upstream_is_answered_with_the_one_that_was_meant(tmp_path):
    problem = only(tmp_path, pair(upstream="dve"))
    assert problem == Problem(
        place(tmp_path, 10, "workspaces.prod.upstream"),
        "there is no workspace dve",
        "did you mean dev?",
    )


def test_an_unknown_upstream_like_none_is_answered_with_all(tmp_path):
    assert only(tmp_path, pair(upstream="quux")).hint == "name one of dev, prod"


def test_a_cycle_is_told_at_each_of_its_workspaces(tmp_path):
    text = "project: shop\nworkspaces:\n"
    for name, upstream in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        text += f"  {name}: {{repository: https://example.com/{name}, environment: x,"
        text += f" upstream: {upstream}}}\n"
    problems = mistakes(file(tmp_path, text))
    assert [p.where for p in problems] == [
        place(tmp_path, line, f"workspaces.{name}.upstream")
        for line, name in enumerate(("a", "b", "c"), start=3)
    ]
    assert {p.problem for p in problems} == {"is part of a cycle"}


def test_a_workspace_that_is_its_own_upstream_is_a_cycle(tmp_path):
    assert only(tmp_path, dev("upstream: dev")).problem == "is part of a cycle"


REVIEW = (
    "  review: {repository: https://example.com/review, environment: dev,"
    " run: {platform: command, command: [x]}}\n"
)


def test_several_upstreams_keep_their_order(tmp_path):
    text = pair(upstream="[review, dev]") + REVIEW
    project = config.load(file(tmp_path, text))
    prod = project.workspaces["prod"]
    assert [w.name for w in project.upstreams_of(prod)] == ["review", "dev"]
    assert project.targets_of(project.workspaces["dev"]) == (prod,)


@pytest.mark.parametrize(
    ("upstream", "keys", "problem", "hint"),
    [
        ("[dev, dve]", "", "there is no workspace dve", "did you mean dev?"),
        ("[dev, dev]", "", "names a workspace twice", "name each once"),
        ("[dev, 7]", ".1", "should be text", "quote it"),
        ("[dev, [prod]]", ".1", "should be text", "quote it"),
        ("[dev, a-b]", ".1", "has characters that are not allowed", "letters and digits"),
        ("{dev: 1}", "", "should be a list", "write [first, second]"),
        ("[dev, prod]", "", "is part of a cycle", "remove an upstream"),
    ],
)
def test_each_of_several_upstreams_is_looked_at(tmp_path, upstream, keys, problem, hint):
    found = only(tmp_path, pair(upstream=upstream))
    assert found.where == place(tmp_path, 10, f"workspaces.prod.upstream{keys}")
    assert problem in found.problem
    assert hint in found.hint


def test_a_cycle_through_a_second_upstream_is_told_at_each_of_its_workspaces(tmp_path):
    text = pair(upstream="[dev, review]") + REVIEW.replace(
        "environment", "upstream: prod, environment"
    )
    problems = mistakes(file(tmp_path, text))
    assert [(p.where, p.problem) for p in problems] == [
        (place(tmp_path, 10, "workspaces.prod.upstream"), "is part of a cycle"),
        (place(tmp_path, 11, "workspaces.review.upstream"), "is part of a cycle"),
    ]


def test_each_upstream_that_a_gate_asks_needs_a_run(tmp_path):
    review = REVIEW.replace(", run: {platform: command, command: [x]}", "")
    problem = only(tmp_path, pair("gate: {}", upstream="[dev, review]") + review)
    assert problem.where == place(tmp_path, 11, "workspaces.prod.gate")
    assert problem.problem == "no run of review can ever pass it"


@pytest.mark.parametrize("upstream", ["~", "[]"])
def test_what_concerns_promotion_needs_an_upstream_also_where_the_key_is_there(tmp_path, upstream):
    problem = only(tmp_path, pair("gate: {}", upstream=upstream))
    assert problem.where == place(tmp_path, 11, "workspaces.prod.gate")
    assert "add upstream" in problem.hint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://example.com/dev.git", "https://example.com/dev.git"),
        ("https://example.com/dev.git", "https://example.com/dev"),
        ("https://example.com/dev.git", "https://example.com/dev.git/"),
        ("https://example.com/dev.git", "https://EXAMPLE.com/dev.git"),
        ("https://example.com/dev.git", "HTTPS://example.com:443/dev.git"),
        ("https://example.com/team/dev", "git@example.com:team/dev.git"),
        ("https://example.com/team/dev", "git@EXAMPLE.com:team/dev.git"),
        ("ssh://git@example.com/team/dev", "git@example.com:team/dev"),
        ("dev.git", "./dev.git"),
        ("dev.git", "../shop/dev.git"),
        ("dev.git", "file://{folder}/dev.git"),
        ("dev.git", "{folder}/dev.git"),
    ],
)
def test_a_repository_and_branch_belong_to_one_workspace_however_they_are_spelled(
    tmp_path, one, other
):
    folder = tmp_path / "shop"
    folder.mkdir()
    text = dev(repository=one) + "protocols: [https, ssh, file]\n"
    second = json.dumps(other.format(folder=folder))
    text = text.replace("protocols:", f"  b: {{repository: {second}, environment: b}}\nprotocols:")
    (problem,) = mistakes(file(folder, text))
    assert problem.where == f"{folder}/dataops.yaml:6: workspaces.b.repository"
    assert problem.problem == "shares repository and branch main with workspace dev"


def test_branches_of_one_repository_may_be_workspaces(tmp_path):
    text = dev() + "  b: {repository: https://example.com/dev, environment: b, branch: b}\n"
    assert len(config.load(file(tmp_path, text)).workspaces) == 2


def test_a_gate_needs_an_upstream_with_a_run(tmp_path):
    text = pair("gate: {}").replace("    run: {platform: command, command: [sh, run.sh]}\n", "")
    problem = only(tmp_path, text)
    assert problem.where == place(tmp_path, 10, "workspaces.prod.gate")
    assert problem.problem == "no run of dev can ever pass it"
    assert "workspaces.dev.run" in problem.hint


@pytest.mark.parametrize(
    "line",
    [
        *("gate: {}", "promote: change", 'promote: "0 6 * * *"', "supersede: every"),
        "auto_rollback: true",
    ],
)
def test_what_concerns_promotion_needs_an_upstream(tmp_path, line):
    problem = only(tmp_path, dev(line))
    assert problem.where == place(tmp_path, 6, f"workspaces.dev.{line.split(':')[0]}")
    assert "add upstream" in problem.hint


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order(tmp_path):
    text = """\
project: my-shop
workspaces:
  dev:
    repository: ext::sh -c true
    enviroment: dev
    branch: a..b
  staging:
    repository: https://user:hunter2-hunter2@example.com/staging.git
    environment: staging
    upstream: dve
    promote: "61 * * * *"
    run: {platform: command, command: [x], deadline: soon}
  prod:
    repository: https://example.com/prod.git
    environment: prod
    upstream: staging
    gate: {environment: 7}
    colour: red
automation: {interval: 5}
"""
    problems = mistakes(file(tmp_path, text))
    assert [p.where.removeprefix(f"{tmp_path}/dataops.yaml:") for p in problems] == [
        "1: project",
        "3: workspaces.dev.environment",
        "4: workspaces.dev.repository",
        "5: workspaces.dev.enviroment",
        "6: workspaces.dev.branch",
        "8: workspaces.staging.repository",
        "10: workspaces.staging.upstream",
        "11: workspaces.staging.promote",
        "12: workspaces.staging.run.deadline",
        "17: workspaces.prod.gate.environment",
        "18: workspaces.prod.colour",
        "19: automation.interval",
    ]


def test_a_mistake_is_not_told_twice_because_of_another(tmp_path):
    text = pair("gate: {}", upstream="7").replace("platform: command", "platform: dbt")
    problems = mistakes(file(tmp_path, text))
    assert [p.where for p in problems] == [
        place(tmp_path, 6, "workspaces.dev.run"),
        place(tmp_path, 10, "workspaces.prod.upstream"),
    ]


# --- several files ----------------------------------------------------------------------------


def test_an_asset_is_produced_by_one_workspace_of_one_project(tmp_path):
    run = "{platform: command, command: [x], produces: [orders]}"
    problem = only(
        tmp_path, pair(f"deploy: {run}").replace("[sh, run.sh]}", "[x], produces: [orders]}")
    )
    assert problem.problem == "orders is what workspace dev produces"
    assert problem.where == place(tmp_path, 11, "workspaces.prod.deploy.produces")
    one = file(tmp_path, dev(f"run: {run}"), "one.yaml")
    text = dev(f"run: {run}", repository="https://example.com/other.git")
    two = file(tmp_path, text.replace("project: shop", "project: other"), "two.yaml")
    with pytest.raises(ConfigError, match="orders is what project shop produces already"):
        config.load_all([one, two])


def test_a_workspace_belongs_to_one_project(tmp_path):
    one = file(tmp_path, dev(), "one.yaml")
    other = file(tmp_path, dev().replace("shop", "store").replace("dev.git", "dev"), "other.yaml")
    with pytest.raises(ConfigError) as caught:
        config.load_all([one, other])
    (problem,) = caught.value.problems
    assert problem.where == f"{other}:4: workspaces.dev.repository"
    assert problem.problem.startswith("project shop already has a workspace at this repository")


def test_a_projects_name_is_its_own(tmp_path):
    one = file(tmp_path, dev(), "one.yaml")
    other = file(tmp_path, dev().replace("/dev.git", "/other.git"), "other.yaml")
    with pytest.raises(ConfigError) as caught:
        config.load_all([one, other])
    (problem,) = caught.value.problems
    assert problem.where == f"{other}:1: project"
    assert problem.problem == f"{one} already has a project shop"


def test_mistakes_of_all_files_are_told_at_once(tmp_path):
    one = file(tmp_path, dev("colour: red"), "one.yaml")
    other = file(tmp_path, "", "other.yaml")
    with pytest.raises(ConfigError) as caught:
        config.load_all([one, tmp_path / "missing.yaml", other])
    assert [p.where.split(":")[0] for p in caught.value.problems] == [
        str(one),
        str(tmp_path / "missing.yaml"),
        str(other),
    ]


# --- the schema -------------------------------------------------------------------------------


def test_the_shipped_schema_is_that_of_the_types():
    shipped = json.loads((PACKAGE / "dataops.schema.json").read_text())
    assert shipped == config.schema()


def test_the_schema_is_valid_and_accepts_the_demo():
    schema = config.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    demo = yaml.safe_load((PACKAGE / "demo" / "dataops.yaml").read_text())
    jsonschema.validate(demo, schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("upstream", ["dev", "[dev]", "~"])
def test_the_schema_accepts_every_key_of_a_gate_and_one_upstream_or_a_list(upstream):
    text = whole_gate().replace("upstream: dev", f"upstream: {upstream}")
    # An editor reads a date as text.
    data = yaml.load(text, Loader=yaml.BaseLoader)["workspaces"]["prod"]["gate"]
    periods = {key: data[key] for key in ("windows", "freezes")}
    whole = yaml.safe_load(text)
    whole["workspaces"]["prod"]["gate"] |= periods
    jsonschema.validate(whole, config.schema(), cls=jsonschema.Draft202012Validator)


def test_the_demos_configuration_is_well_formed(tmp_path):
    text = (PACKAGE / "demo" / "dataops.yaml").read_text()
    assert config.load(file(tmp_path, text)).name == "shop"


@pytest.mark.parametrize(
    "text",
    [
        dev("colour: red"),
        dev("name: dev"),
        dev("run: {platform: command, command: [x], deadline: soon}"),
        dev("run: {platform: dbt}"),
        dev().replace("  dev:", "  dev:\n    upstream: a__b"),
        dev().replace("environment: dev", "environment: -x"),
        pair("gate: {windows: [{cron: 0 9 * * *, lasts: soon}]}"),
        pair("gate: {freezes: [{colour: red}]}"),
        pair("gate: {approvals: {quorum: 0}}"),
        pair("gate: {tested_tree: sme}"),
        pair("gate: {runs: 11}"),
        pair("gate: {predicate: shop.policy.may_land}"),
        pair("supersede: newest"),
        pair(upstream="[dev, a__b]"),
    ],
)
def test_an_editor_with_the_schema_sees_mistakes_too(text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), config.schema())


# --- anything ---------------------------------------------------------------------------------

KEYS = [
    *("project", "workspaces", "protocols", "automation", "enabled", "interval", "dev", "prod"),
    *("repository", "branch", "environment", "upstream", "promote", "gate", "run", "deploy"),
    *(
        "ssh",
        "key",
        "known_hosts",
        "credential",
        "username",
        "password_variable",
        "platform",
        "command",
        "when",
        "name",
        "<<",
    ),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=4),
    st.text(max_size=12),
    st.sampled_from(
        [
            *("dev", "prod", "manual", "change", "0 6 * * *", "command", "meltano", "30m", "main"),
            *("https://example.com/x", "ssh://a@b/c", "a@b:c", "x.git", "~a/b", "https://[", "//["),
        ]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.integers(), inner, max_size=6)
    ),
    max_leaves=20,
)
STEPS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4) | st.just(
    {"platform": "command", "command": ["x"]}
)
WORKSPACES = st.fixed_dictionaries(
    {"repository": SCALARS, "environment": SCALARS},
    optional={
        **dict.fromkeys(("branch", "upstream", "promote", "gate", "credential", "ssh"), VALUES),
        **dict.fromkeys(("run", "deploy"), STEPS),
    },
)
PROJECTS = st.fixed_dictionaries(
    {
        "project": st.just("shop") | SCALARS,
        "workspaces": st.dictionaries(
            st.sampled_from(["dev", "staging", "prod"]), WORKSPACES | VALUES, max_size=3
        )
        | VALUES,
    },
    optional={"protocols": st.just(["https", "ssh", "file"]) | VALUES, "automation": VALUES},
)
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(f"{key}: " for key in KEYS),
            *(
                "\n",
                "\n  ",
                "\n    ",
                "- ",
                "? ",
                ": ",
                "{",
                "}",
                "[",
                "]",
                ", ",
                "&a ",
                "*a",
                "!!",
            ),
            *("!!set ", "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!omap "),
            *(
                "!!null ",
                "!!str ",
                "!!map ",
                "!!pairs ",
                "|\n",
                "'",
                '"',
                "#",
                "---\n",
                "%YAML 9\n",
            ),
            *("2020-13-41", "1:2", "0x", "=", "<<: ", "~", "shop", "dev", "9" * 5000, "\x85", "\0"),
        ]
    ),
    max_size=30,
).map("".join)
ANYTHING = FRAGMENTS | st.text() | PROJECTS.map(lambda data: yaml.dump(data, allow_unicode=True))


def told(path: Path) -> Project | tuple[Problem, ...]:
    try:
        return config.load(path)
    except ConfigError as error:
        return error.problems


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=ANYTHING)
def test_any_text_is_a_project_or_a_clear_error(tmp_path, text):
    path = file(tmp_path, text.encode("utf-8", "surrogatepass"))
    found = told(path)
    if not isinstance(found, Project):
        assert found
        assert all(problem.where.startswith(str(path)) for problem in found)


# --- Meltano Cloud ----------------------------------------------------------------------------


def cloud(**more: str) -> str:
    """Return a deploy step of Meltano Cloud, as it stands in a file."""
    step = {"platform": "meltano_cloud", "workspace": "Shop", **more}
    told = ", ".join(f'{key}: "{value}"' for key, value in step.items())
    return f"deploy: {{{told}}}"


@pytest.mark.parametrize(
    "url",
    [
        "https://app.matatika.com/api",
        "https://app.meltano.com/api/",
        "http://127.0.0.1:8000/api",
        "http://localhost/api",
        "http://[::1]:8000",
    ],
)
def test_the_url_of_an_api_is_https_or_on_this_machine(tmp_path, url):
    project = config.load(file(tmp_path, dev(cloud(url=url))))
    assert project.workspaces["dev"].deploy.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://app.meltano.com/api",
        "http://127.0.0.1.evil.example/api",
        f"https://ada:{SECRET}@app.meltano.com/api",
        f"https://{SECRET}@app.meltano.com/api",
        f"https://app.meltano.com/api?token={SECRET}",
        f"https://app.meltano.com/api#{SECRET}",
        "https:///api",
        "https://[::1/api",
        "https://host:port/api",
        "ftp://127.0.0.1/api",
        "app.meltano.com/api",
        r"https://app.meltano.com/\n",
        "",
    ],
)
def test_what_is_no_safe_url_of_an_api_is_refused_and_not_repeated(tmp_path, url):
    problem = only(tmp_path, dev(cloud(url=url)))
    assert problem.where == place(tmp_path, 6, "workspaces.dev.deploy.url")
    assert "is no URL of an API" in problem.problem
    assert SECRET not in str(problem)


@pytest.mark.parametrize("key", ["token_variable", "client_id_variable", "client_secret_variable"])
def test_a_token_in_place_of_a_variables_name_is_refused_and_not_repeated(tmp_path, key):
    problem = mistakes(file(tmp_path, dev(cloud(**{key: f"ey.{SECRET}"}))))[0]
    assert problem.where == place(tmp_path, 6, f"workspaces.dev.deploy.{key}")
    assert "never write the secret itself" in problem.hint
    assert SECRET not in str(problem)


def test_meltano_cloud_does_not_run_a_workspace(tmp_path):
    problem = only(tmp_path, dev(cloud().replace("deploy:", "run:")))
    assert problem.where == place(tmp_path, 6, "workspaces.dev.run.platform")
    assert problem.problem == "meltano_cloud deploys a workspace, and does not run one"


def test_variables_are_not_for_a_platform_that_starts_no_program(tmp_path):
    line = "deploy: {platform: meltano_cloud, workspace: Shop, variables: [X]}"
    assert only(tmp_path, dev(line)).problem == "is an unknown key"


def test_two_workspaces_are_not_deployed_to_one_on_meltano_cloud(tmp_path):
    text = pair(cloud()).replace("    run: {", f"    {cloud()}\n    run: {{")
    problem = only(tmp_path, text)
    assert problem.where.endswith("workspaces.prod.deploy.workspace")
    assert problem.problem == "is the one that workspace dev is deployed to"


def test_two_accounts_may_have_workspaces_of_one_name(tmp_path):
    other = cloud(url="https://cloud.example.com/api")
    text = pair(cloud()).replace("    run: {", f"    {other}\n    run: {{")
    assert config.load(file(tmp_path, text)).targets
