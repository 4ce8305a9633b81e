"""What is wrong or suspicious in a Meltano project is found, each by its rule, and nothing else."""

from __future__ import annotations

import json
import time

import pytest

from dataops_dagster.meltano import lint, oddities
from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.meltano.gathering import gather
from dataops_dagster.meltano.lint import RULES, Severity
from dataops_dagster.meltano.project import load
from tests.meltano_examples import SEED, SHOP, edited, read

SET = {"TAP_X_PASSWORD"}


def found(text=SHOP, environment="prod", *, variables=SET, ignore=(), **pipelines):
    """Return rule, line and reason of all findings; the other environment is looked at, too."""
    told = lint.findings(
        read(text, **pipelines),
        environment,
        ["dev", "staging", "prod"],
        variables=variables,
        ignore=ignore,
    )
    return [(f.rule, f.line, f.reason) for f in told]


def changed(*pairs: tuple[str, str], **more):
    return found(edited(*pairs), **more)


def test_a_project_in_which_nothing_is_wrong_has_no_finding():
    assert found() == []


def test_the_example_that_everyone_starts_with_names_the_domain_that_staging_inherits():
    told = found(SEED, "staging")
    (line, reason), *more = [
        (line, reason) for rule, line, reason in told if rule == "inherited-setting"
    ]
    assert reason == (
        "tap-auth0 domain: prod overrides it, staging takes matatika-staging.eu.auth0.com from base"
    )
    assert "domain: matatika-staging" in SEED.splitlines()[line - 1]
    assert more == []
    assert {rule for rule, _, _ in told} == {
        "inherited-setting",
        "unlocked-plugin",
    }
    assert "inherited-setting" not in {rule for rule, _, _ in found(SEED, "prod")}


NIGHTLY = '- {name: nightly, interval: "0 3 * * *", job: load}'
OVERRIDE = "{host: prod.example.com}"


STAGING = "{host: staging.example.com}"
PROD_ENTRY = "      - {name: tap-x, config: {host: prod.example.com}}\n"


@pytest.mark.parametrize(
    ("rule", "pair", "line", "part"),
    [
        (
            "environment",
            ("- name: prod", "- name: production"),
            "project_id",
            "defined: staging, production",
        ),
        ("job-plugin", ("job: load}", "job: other}"), "nightly", "schedule nightly needs other"),
        (
            "clear-secret",
            ("tap-x==1.0", "git+https://s3cret@example.com/tap-x"),
            "name: tap-x",
            "tap-x: there is a login in its pip_url",
        ),
        (
            "clear-secret",
            ("- name: prod\n", "- name: prod\n  env: {AWS_SECRET_ACCESS_KEY: hunter2}\n"),
            "name: prod",
            "env of prod AWS_SECRET_ACCESS_KEY",
        ),
        ("job-plugin", ("[tap-x target-y]", "[tap-x target-z]"), "name: load", "needs target-z"),
        (
            "clash",
            (OVERRIDE, "{host: {name: a.example.com}}"),
            "name: a",
            "tap-x host is a mapping",
        ),
        ("clash", ("{host: example.com,", "{host: {name: a.b},"), "prod.example", "tap-x host"),
        ("unlocked-plugin", ("    namespace: target_y\n", ""), "target-y", "no lock file"),
        ("clear-secret", ("$TAP_X_PASSWORD", "hunter2"), "hunter2", "tap-x password: is a secret"),
        (
            "likely-secret",
            (OVERRIDE, "{host: prod.example.com, app: 39Pu9tTomnTv594VAFYnmRvkEpSlI7a6}"),
            "39Pu9t",
            "tap-x app: looks like a secret",
        ),
        (
            "inherited-setting",
            (OVERRIDE, "{}"),
            "{host: example.com",
            "staging overrides it, prod takes example.com from base",
        ),
        (
            "inherited-setting",
            (STAGING, "{host: staging.example.com, zone: eu}"),
            "zone",
            "staging sets it, prod does not",
        ),
        (
            "unknown-plugin",
            (PROD_ENTRY, f"{PROD_ENTRY}      - {{name: tap-old}}\n"),
            "tap-old",
            "prod configures tap-old, which is none of the extractors",
        ),
        (
            "null-override",
            (OVERRIDE, "{host: prod.example.com, batch: null}"),
            "null",
            "tap-x batch",
        ),
        (
            "duplicate-entry",
            ("jobs:\n", "jobs:\n- {name: load, tasks: [tap-x]}\n"),
            "[tap-x target-y]",
            "job load stands here again",
        ),
        (
            "duplicate-entry",
            (
                "plugins:\n  extractors:\n  -",
                "- {name: prod, env: {}}\nplugins:\n  extractors:\n  -",
            ),
            "env: {}",
            "environment prod",
        ),
        (
            "duplicate-entry",
            (PROD_ENTRY, f"{PROD_ENTRY}      - {{name: tap-x}}\n"),
            "{name: tap-x}",
            "prod: extractors tap-x",
        ),
        ("project-id", ("project_id", "# project_id"), "project_id", "there is no project_id"),
        ("schedule", ("0 3 * * *", "0 3 30 2 *"), "nightly", "the schedule nightly never runs"),
        ("schedule", ("0 3 * * *", "0 0 3 * * *"), "nightly", "the schedule nightly never runs"),
    ],
)
def test_each_rule_finds_what_it_is_for_and_can_be_ignored(rule, pair, line, part):
    text = edited(pair)
    ((at, reason),) = [(at, reason) for id_, at, reason in found(text) if id_ == rule]
    assert line in text.splitlines()[at - 1]
    assert part in reason
    assert rule not in {id_ for id_, _, _ in found(text, ignore=[rule])}


@pytest.mark.parametrize(
    ("rule", "pairs"),
    [
        # Staging may be what the base says, as long as nobody says otherwise.
        ("inherited-setting", [("{host: staging.example.com}", "{}"), (OVERRIDE, "{}")]),
        ("inherited-setting", [("staging.example.com", "example.com"), (OVERRIDE, "{}")]),
        ("clear-secret", [("$TAP_X_PASSWORD", "${TAP_X_PASSWORD}")]),
        (
            "clear-secret",
            [("password}", "password, value: postgres}"), (", password: $TAP_X_PASSWORD", "")],
        ),
        (
            "shared-credential",
            [("jobs:", "# the same variable has another value elsewhere\njobs:")],
        ),
        ("clear-secret", [("tap-x==1.0", "git+ssh://git@example.com/tap-x")]),
        ("clear-secret", [("tap-x==1.0", "git+https://${TOKEN}@example.com/tap-x")]),
        ("null-override", [("value: 10", "value: null")]),
        (
            "clash",
            [
                (OVERRIDE, "{host: prod.example.com, more: {}}"),
                ("{host: example.com,", "{host: example.com, more: {key: 1},"),
            ],
        ),
        ("job-plugin", [("[tap-x target-y]", "['tap-x:test', tap-x target-y]")]),
    ],
)
def test_what_is_fine_is_not_found(rule, pairs):
    assert rule not in {id_ for id_, _, _ in changed(*pairs)}


def test_a_credential_that_two_environments_share_is_found_and_not_shown():
    told = changed(("$TAP_X_PASSWORD", "hunter2"))
    shared = [reason for rule, _, reason in told if rule == "shared-credential"]
    assert shared == ["tap-x password: prod and staging share a credential"]
    assert "hunter2" not in json.dumps(told)


def test_a_variable_that_is_not_set_at_the_target_is_found_where_its_name_stands():
    ((rule, line, reason),) = found(variables=set())
    assert rule == "missing-variable"
    assert reason.startswith(
        "tap-x password: TAP_X_PASSWORD is not set in prod, and would be empty"
    )
    assert "$TAP_X_PASSWORD" in SHOP.splitlines()[line - 1]


def test_nothing_is_asked_about_variables_that_nobody_knows():
    assert found(variables=None) == []


@pytest.mark.parametrize(
    "pair",
    [
        ("jobs:", "env: {VAULT: here}\njobs:"),
        ("- name: prod\n", "- name: prod\n  env: {VAULT: here}\n"),
        ("$VAULT", "$MELTANO_ENVIRONMENT"),
        ("    pip_url: tap-x==1.0\n", "    pip_url: tap-x==1.0\n    env: {VAULT: here}\n"),
        ("{name: tap-x, config: {host: prod", "{name: tap-x, env: {VAULT: a}, config: {host: prod"),
    ],
)
def test_a_variable_that_the_project_or_meltano_sets_is_there(pair):
    told = changed(("$TAP_X_PASSWORD", "$VAULT"), pair, variables=set())
    assert "missing-variable" not in {rule for rule, _, _ in told}


def test_a_variable_that_the_project_sets_from_another_one_needs_that_one():
    told = changed(("jobs:", "env: {TAP_X_PASSWORD: $VAULT}\njobs:"), variables=set())
    ((rule, line, reason),) = told
    assert (rule, line) == ("missing-variable", 26)
    assert reason.startswith("env TAP_X_PASSWORD: VAULT is not set in prod")


def test_a_file_that_cannot_be_read_is_found_with_its_line():
    (told,) = found(load="a: [\n")
    assert told[0] == "unreadable"


def test_a_mistake_for_which_meltano_answers_nothing_is_told_once():
    (told,) = changed(("- name: staging\n", "- name: staging\n  color: red\n"))
    assert told[0] == "unreadable"


def test_a_configuration_that_meltano_would_fail_for_is_found():
    told = changed(("{name: batch, kind: integer, value: 10}", "{name: batch, kind: whole}"))
    assert "no-answer" in {rule for rule, _, _ in told} or "unreadable" in {r for r, _, _ in told}


def test_a_secret_among_the_properties_of_a_pipeline_is_found():
    (told,) = found(load="properties: {tap-x.password: hunter2}\n")
    assert told[0] == "clear-secret"


def test_a_secret_among_the_variables_of_a_schedule_is_found_where_the_schedule_stands():
    ((rule, line, reason),) = changed(("job: load}", "job: load, env: {TAP_X_PASSWORD: hunter2}}"))
    assert (rule, line) == ("clear-secret", SHOP.splitlines().index(NIGHTLY) + 1)
    assert reason.startswith("env TAP_X_PASSWORD")


def test_a_file_with_a_hostile_name_is_told_on_one_line():
    reading = gather(GivenFiles({"meltano.yml": SHOP, "pipelines/\x1b[31mx\n\udcff.yml": "a: [\n"}))
    (told,) = lint.findings(reading, "prod")
    assert told.path == "pipelines/[31mx .yml"
    assert reading.told_problems("prod")[0].startswith("pipelines/[31mx .yml:2: ")


@pytest.mark.slow
def test_clashes_are_found_in_time_that_grows_with_their_number():
    def cost(count: int) -> float:
        ours, theirs = (", ".join(f"k{i}: {v}" for i in range(count)) for v in ("1", "{a: 1}"))
        text = edited((OVERRIDE, f"{{{ours}}}"), ("{host: example.com,", f"{{{theirs},"))
        project = load(GivenFiles({"meltano.yml": text}))
        begin = time.process_time()
        assert len(list(oddities.clashes(project, "prod"))) == count
        return time.process_time() - begin

    def least(count: int) -> float:
        return min(cost(count) for _ in range(3))  # a collection of garbage costs as much

    assert least(8000) < 40 * max(least(1000), 0.02)


def test_a_finding_is_new_wherever_its_line_was():
    before = lint.findings(read(edited(("$TAP_X_PASSWORD", "hunter2"))), "prod")
    text = edited(("$TAP_X_PASSWORD", "hunter2"), ("project_id", "\n\nproject_id"))
    assert lint.new(lint.findings(read(text), "prod"), before) == []
    worse = edited(("[tap-x target-y]", "[tap-x target-z]"), text=text)
    (new,) = lint.new(lint.findings(read(worse), "prod"), before)
    assert (new.rule, lint.is_error(new)) == ("job-plugin", True)


def test_the_rules_that_close_a_gate_are_those_for_what_would_break():
    assert {id_ for id_, rule in RULES.items() if rule.severity is Severity.ERROR} == {
        "unreadable",
        "environment",
        "no-answer",
        "missing-variable",
        "job-plugin",
        "clash",
        "clear-secret",
    }
