"""What a change of a Meltano project means for the target's environment is named, and no secret is."""

from __future__ import annotations

import dataclasses
import json

import pytest

from dataops_dagster.configuration import (
    Changes,
    PartChange,
    SettingChange,
    StateChange,
    TimerChange,
    tables,
)
from dataops_dagster.meltano import gathering, lint
from dataops_dagster.meltano.changes import CHANGED_SECRET, changes
from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.meltano.gathering import gather
from dataops_dagster.meltano.redaction import HIDDEN
from tests.conftest import NOW
from tests.meltano_examples import SEED, SHOP, edited, read
from tests.test_meltano_schedules import utc

NIGHTLY = '- {name: nightly, interval: "0 3 * * *", job: load}\n'


def changed(*pairs: tuple[str, str], environment="prod", text=SHOP) -> Changes:
    """Return what these edits change in the environment."""
    return changes(read(text), read(edited(*pairs, text=text)), environment, now=NOW)


def rows(found: Changes) -> list[tuple[str, str, str, str, str]]:
    return [(c.plugin, c.setting, c.old, c.new, c.layer) for c in found.settings]


# --- settings ---------------------------------------------------------------------------------


def test_a_project_that_stays_the_same_changes_nothing():
    assert changed() == Changes("prod")
    assert list(tables(changed())) == []


def test_a_comment_changes_nothing():
    assert changed(("jobs:", "# for the night\njobs:")) == Changes("prod")


def test_a_setting_of_the_targets_environment_is_told_with_its_layer():
    found = changed(("prod.example.com", "new.example.com"))
    assert rows(found) == [("tap-x", "host", "prod.example.com", "new.example.com", "environment")]
    assert found.elsewhere == ()


def test_a_setting_of_another_environment_is_told_apart():
    found = changed(("staging.example.com", "new.example.com"))
    assert found.settings == ()
    assert found.elsewhere == (
        SettingChange(
            "staging", "tap-x", "host", "staging.example.com", "new.example.com", "environment"
        ),
    )


def test_a_base_value_that_the_target_overrides_changes_nothing_there():
    found = changed((", config: {host: prod.example.com}", ""), ("{host: example", "{host: new"))
    assert rows(found) == [("tap-x", "host", "prod.example.com", "new.com", "base")]
    assert found.elsewhere == ()


def test_what_changes_for_all_environments_is_told_once():
    found = changed(("value: 10", "value: 20"))
    assert rows(found) == [("tap-x", "batch", "10", "20", "default")]
    assert found.elsewhere == ()


def test_a_setting_that_comes_or_goes_is_told():
    assert rows(changed(("{host: prod.example.com}", "{host: prod.example.com, ssl: true}"))) == [
        ("tap-x", "ssl", "", "true", "environment")
    ]
    gone = changed((", password: $TAP_X_PASSWORD", ""))
    assert rows(gone) == [("tap-x", "password", "$TAP_X_PASSWORD", "", "base")]


def test_a_value_of_another_type_is_another_value():
    text = edited(("host: prod.example.com", "flag: 1"))
    assert rows(changed(("flag: 1", 'flag: "1"'), text=text)) == [
        ("tap-x", "flag", "1", "1", "environment")
    ]
    assert rows(changed(("flag: 1", "flag: true"), text=text))


def test_a_layer_that_changes_without_the_value_is_no_change():
    text = edited(("host: prod.example.com", "host: example.com"))
    assert changed((", config: {host: example.com}", ""), text=text).settings == ()


def test_the_example_that_everyone_starts_with_tells_its_domain():
    found = changed(
        ("domain: matatika-staging", "domain: matatika-new"), text=SEED, environment="staging"
    )
    assert rows(found) == [
        (
            "tap-auth0",
            "domain",
            "matatika-staging.eu.auth0.com",
            "matatika-new.eu.auth0.com",
            "base",
        )
    ]
    assert found.elsewhere == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("$TAP_X_PASSWORD", "hunter2", ("$TAP_X_PASSWORD", HIDDEN)),
        ("hunter2", "$TAP_X_PASSWORD", (HIDDEN, "$TAP_X_PASSWORD")),
        ("hunter2", "hunter3", (HIDDEN, CHANGED_SECRET)),
    ],
)
def test_a_secret_that_changes_is_seen_to_change_and_is_not_shown(old, new, told):
    text = edited(("$TAP_X_PASSWORD", old))
    found = changed((f"password: {old}", f"password: {new}"), text=text)
    ((_, _, was, becomes, _),) = rows(found)
    assert (was, becomes) == told
    assert "hunter" not in json.dumps(dataclasses.asdict(found), default=str)


def test_a_first_project_tells_all_that_is_written():
    found = changes(None, read(), "prod", now=NOW)
    assert ("tap-x", "host", "", "prod.example.com", "environment") in rows(found)
    assert "batch" not in {setting for _, setting, *_ in rows(found)}
    assert PartChange("job", "load", "", "tap-x target-y") in found.parts
    assert found.state == ()


def test_variables_of_the_project_and_the_environment_are_told():
    found = changed(
        ("- name: prod\n", "- name: prod\n  env: {ZONE: eu}\n"), ("jobs:", "env: {A: 1}\njobs:")
    )
    assert rows(found) == [
        ("env", "A", "", "1", "env of the project"),
        ("env", "ZONE", "", "eu", "env of the environment"),
    ]


# --- plug-ins, jobs and environments ----------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "tap-x==1.0",
            "tap-x==1.1",
            PartChange("plug-in", "extractors tap-x", "pip_url tap-x==1.0", "pip_url tap-x==1.1"),
        ),
        (
            "pip_url: tap-x==1.0",
            "variant: shop",
            PartChange("plug-in", "extractors tap-x", "pip_url tap-x==1.0", "variant shop"),
        ),
        (
            "tap-x==1.0",
            "git+https://s3cret@example.com/tap-x",
            PartChange(
                "plug-in",
                "extractors tap-x",
                "pip_url tap-x==1.0",
                "pip_url git+https://*****@example.com/tap-x",
            ),
        ),
        (
            "[tap-x target-y]",
            "[tap-x target-y, tap-x target-y]",
            PartChange("job", "load", "tap-x target-y", "tap-x target-y, tap-x target-y"),
        ),
        (
            "- name: prod\n",
            "- name: eu\n- name: prod\n",
            PartChange("environment", "eu", "", "defined"),
        ),
    ],
)
def test_a_part_that_comes_goes_or_changes_is_told(old, new, told):
    assert changed((old, new)).parts == (told,)


def test_an_installer_is_told_without_its_logins_and_tokens():
    found = changed(
        ("tap-x==1.0", "tap-x==1.1 --index-url https://ada:hunter2@example.com/?key=hunter2")
    )
    (part,) = found.parts
    assert part.new.endswith("https://*****@example.com/?key=*****")


def test_the_variables_of_a_schedule_are_told():
    found = changed(("job: load}", "job: load, env: {TAP_X_HOST: x, TAP_X_PASSWORD: hunter2}}"))
    assert rows(found) == [
        ("env", "TAP_X_HOST (in nightly)", "", "x", "schedule nightly"),
        ("env", "TAP_X_PASSWORD (in nightly)", "", HIDDEN, "schedule nightly"),
    ]


@pytest.mark.parametrize(
    "pair",
    [
        ("./bin/target-y", "run --db-password hunter2"),
        ("[tap-x target-y]", "[tap-x --password=hunter2]"),
        ("job: load}", "job: 'postgres://ada:hunter2@example.com'}"),
        ("0 3 * * *", "password=hunter2"),
    ],
)
def test_a_secret_where_nobody_puts_one_is_masked_too(pair):
    found = changed(pair)
    assert found.parts or found.timers
    told = lint.findings(read(edited(pair)), "prod")
    assert "hunter2" not in f"{dataclasses.asdict(found)}{told}"


def test_a_name_without_end_is_told_short():
    (_, job) = changed(("name: load,", f"name: {'x' * 3000},")).parts[::-1]
    assert len(job.name) == 100


def test_a_plugin_that_goes_takes_its_settings_along():
    text = edited(
        ("  loaders:\n", "  - {name: tap-z, namespace: tap_z, config: {a: 1}}\n  loaders:\n")
    )
    found = changed(("  - {name: tap-z, namespace: tap_z, config: {a: 1}}\n", ""), text=text)
    assert [(part.name, part.new) for part in found.parts] == [("extractors tap-z", "")]
    assert rows(found) == [("tap-z", "a", "1", "", "base")]


# --- what runs by itself ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (NIGHTLY, "", ("nightly", "stops", "0 3 * * *", "", "load", None)),
        (
            NIGHTLY,
            f"{NIGHTLY}- {{name: hourly, interval: '@hourly', job: load}}\n",
            ("hourly", "starts", "", "0 * * * *", "load", "2026-11-22 07:00"),
        ),
        (
            "0 3 * * *",
            "0 4 * * *",
            ("nightly", "moves", "0 3 * * *", "0 4 * * *", "load", "2026-11-23 04:00"),
        ),
        (
            "job: load}",
            "job: other}",
            ("nightly", "changes", "0 3 * * *", "0 3 * * *", "other", "2026-11-23 03:00"),
        ),
        ('"0 3 * * *"', '"@manual"', ("nightly", "stops", "0 3 * * *", "", "load", None)),
    ],
)
def test_a_schedule_that_starts_stops_or_moves_is_told_with_its_first_time(old, new, told):
    name, what, was, becomes, runs, first = told
    assert changed((old, new)).timers == (
        TimerChange("schedule", name, what, was, becomes, runs, first and utc(first)),
    )


def test_a_pipeline_is_told_and_the_settings_that_it_sets_too():
    pipeline = "schedule: 30 0 6 * * *\nactions: [tap-x target-y]\nproperties: {tap-x.host: p.example.com}\n"
    found = changes(read(), read(load=pipeline), "prod", now=NOW)
    (timer,) = found.timers
    assert (timer.kind, timer.what, timer.first) == (
        "pipeline",
        "starts",
        utc("2026-11-22 06:00:30"),
    )
    assert rows(found) == [("tap-x", "host (in load)", "", "p.example.com", "pipeline load")]


def test_a_pipeline_that_follows_a_deployment_starts_without_a_time():
    (timer,) = changes(read(), read(load="triggered_by: [deploy]\n"), "prod", now=NOW).timers
    assert (timer.what, timer.new, timer.first) == ("starts", "after deploy", None)


# --- state ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "setting"),
    [
        ("metadata: {users: {replication-key: id}}", "_metadata.users.replication-key"),
        (
            "metadata: {users: {replication-method: FULL_TABLE}}",
            "_metadata.users.replication-method",
        ),
        ("metadata: {users: {selected: false}}", "_metadata.users.selected"),
        ("select: [users.*]", "_select"),
        ("select_filter: [users]", "_select_filter"),
        ("config: {replication_key: id, host: prod.example.com}", "replication_key"),
        ("config: {default_target_schema: s, host: prod.example.com}", "default_target_schema"),
    ],
)
def test_what_affects_the_state_of_loads_is_called_out(written, setting):
    whole = "config: {host: prod.example.com}"
    found = changed((whole, written if "host" in written else f"{whole}, {written}"))
    (told,) = found.state
    assert (told.subject, told.setting) == ("tap-x", setting)
    assert told.why


def test_a_pipeline_whose_own_settings_affect_the_state_of_loads_is_called_out():
    after = read(load="properties: {target-y.schema: raw, tap-x.host: other}\n")
    (told,) = changes(read(), after, "prod", now=NOW).state
    assert (told.subject, told.setting, told.new) == ("target-y", "schema (in load)", "raw")


def test_a_setting_that_affects_no_state_is_not_called_out():
    assert changed(("prod.example.com", "new.example.com")).state == ()


def test_a_suffix_makes_every_load_begin_anew():
    found = changed(("- name: prod\n", "- name: prod\n  state_id_suffix: v2\n"))
    assert found.state == (
        StateChange(
            "prod:tap-x-to-target-y:v2", "state id", "", "tap-x target-y", "loads begin anew"
        ),
        StateChange(
            "prod:tap-x-to-target-y",
            "state id",
            "tap-x target-y",
            "",
            "nothing goes on with this state",
        ),
    )


def test_a_schedule_that_loads_something_else_under_its_name_goes_on_with_a_foreign_state():
    old = "job: load}"
    text = edited((old, "extractor: tap-x, loader: target-y, transform: skip}"))
    second = "  loaders:\n  - {name: target-z, namespace: target_z}\n"
    text = edited(("  loaders:\n", second), text=text)
    (told,) = changed(("loader: target-y", "loader: target-z"), text=text).state
    assert (told.subject, told.old, told.new) == ("nightly", "tap-x target-y", "tap-x target-z")
    assert told.why == "it goes on with the state of other plug-ins"


def test_a_lock_file_that_changes_pins_its_plugin_anew():
    project = {"meltano.yml": SEED}
    lock = '{"plugin_type": "extractors", "name": "tap-auth0", "namespace": "tap_auth0", "label": "%s"}'
    readings = [
        gather(GivenFiles({**project, "plugins/extractors/tap-auth0--default.lock": lock % label}))
        for label in "ab"
    ]
    found = changes(*readings, "prod", now=NOW)
    (part,) = found.parts
    assert part.name == "extractors tap-auth0"
    assert part.old != part.new
    assert "plugins/extractors/tap-auth0--default.lock (" in part.new


def test_what_cannot_be_read_is_told_beside_what_can():
    found = changes(read(), read(load="schedule: [\n"), "prod", now=NOW)
    (problem,) = found.problems
    assert problem.startswith("pipelines/load.yml:")
    assert found.settings == ()


def test_tables_have_a_row_for_each_change():
    found = changed(("prod.example.com", "new.example.com"), (NIGHTLY, ""), ("1.0", "1.1"))
    assert [title for title, _, _ in tables(found)] == [
        "configuration in prod",
        "plug-ins, jobs and environments",
        "runs by itself",
    ]
    assert all(len(header) == len(row) for _, header, rows in tables(found) for row in rows)


def test_a_plugin_that_meltano_would_give_no_answer_for_is_told():
    old = "{name: batch, kind: integer, value: 10}"
    (problem,) = changed((old, "{name: batch, kind: integer, value: many}")).problems
    assert problem.startswith("meltano.yml:15: tap-x: Meltano would fail: ")


# --- bounds -----------------------------------------------------------------------------------


def test_more_changes_than_anybody_reads_are_counted_and_not_told():
    def project(value: str) -> str:
        config = ", ".join(f"s{number}: {value}" for number in range(700))
        plugins = [
            f"  - {{name: tap-{i}, namespace: tap_{i}, config: {{{config}}}}}\n" for i in range(3)
        ]
        return edited(("  loaders:\n", "".join([*plugins, "  loaders:\n"])))

    found = changes(read(project("a")), read(project("b")), "prod", now=NOW)
    assert len(found.settings) == 2000
    assert found.problems == ("there are over 2000 changes of settings; the first are told",)


def test_settings_without_end_are_left_out_and_that_is_told(monkeypatch):
    monkeypatch.setattr(gathering, "_SETTINGS", 30)
    (problem,) = read().problems
    assert (problem.place.path, problem.reason) == (
        "meltano.yml",
        "there are over 30 settings, inherited ones counted at each level; the rest is left out",
    )


@pytest.mark.parametrize("last", ["", ", config: {mine: null}"])  # for that one there is no answer
def test_what_is_inherited_costs_at_each_level(monkeypatch, last):
    monkeypatch.setattr(gathering, "_SETTINGS", 20_000)
    config = ", ".join(f"k{i}: 1" for i in range(300))
    line = "".join(f"  - {{name: t{i}, inherit_from: t{i - 1}{last}}}\n" for i in range(1, 45))
    reading = read(
        "environments: [{name: prod}]\nplugins:\n  extractors:\n"
        f"  - {{name: t0, namespace: t, config: {{{config}}}}}\n{line}"
    )
    assert 5 < len(reading.configurations["prod"]) < 15
