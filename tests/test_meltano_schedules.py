"""What runs by the clock is told with the moment at which it next does."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from dataops_dagster.meltano.model import Place, Schedule, Unreadable
from dataops_dagster.meltano.schedules import Pipeline, next_time, pipeline, timers
from tests.conftest import NOW

HERE = Place("meltano.yml", 1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("interval", "first"),
    [
        ("@hourly", "2026-11-22 07:00"),
        ("@daily", "2026-11-23 00:00"),
        ("@midnight", "2026-11-23 00:00"),
        ("@weekly", "2026-11-29 00:00"),
        ("@monthly", "2026-12-01 00:00"),
        ("@yearly", "2027-01-01 00:00"),
        ("@annually", "2027-01-01 00:00"),
        ("30 6 * * 1-5", "2026-11-23 06:30"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 * * fri-SUN", "2026-11-27 00:00"),
    ],
)
def test_a_schedule_runs_next_when_meltano_would_say(interval, first):
    (timer,) = timers([Schedule("s", interval, ("load",), HERE)], []).values()
    assert timer.first(NOW) == utc(first)


@pytest.mark.parametrize("interval", ["@once", "@manual", "@none", None, ""])
def test_what_runs_by_hand_only_has_no_time(interval):
    (timer,) = timers([Schedule("s", interval, ("load",), HERE)], []).values()
    assert (timer.when, timer.first(NOW)) == ("", None)


@pytest.mark.parametrize(
    "interval",
    [
        "0 0 6 * * *",
        "whenever",
        "0 0 30 2 *",
        "60 * * * *",
        "9" * 5000,
        "* * * * " + "1," * 500 + "1",
        "² * * * *",
        "@reboot",
    ],
)
def test_what_is_no_five_field_schedule_never_runs(interval):
    (timer,) = timers([Schedule("s", interval, ("load",), HERE)], []).values()
    assert timer.first(NOW) is None


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        ("0 0 0 * * *", "2026-11-23 00:00"),
        ("15 30 6 * * MON-FRI", "2026-11-23 06:30:15"),
        ("0 0 9-17 ? * MON", "2026-11-23 09:00"),
        ("*/20 * * * * *", "2026-11-22 06:00:20"),
        ("0 6 * * *", None),
    ],
)
def test_a_pipelines_schedule_begins_with_the_seconds(schedule, first):
    assert next_time(schedule, NOW, fields=6) == (utc(first) if first else None)


def test_a_pipelines_file_says_what_runs_when_and_with_which_settings():
    found = pipeline(
        "pipelines/nightly/load.yml",
        {
            "actions": ["tap-x target-y", "dbt:run"],
            "schedule": "0 0 6 * * *",
            "triggered_by": ["deploy", "other"],
            "properties": {"tap-x.start": "2026"},
        },
    )
    assert found == Pipeline(
        "nightly/load",
        Place("pipelines/nightly/load.yml", 1),
        "tap-x target-y, dbt:run",
        "0 0 6 * * *",
        ("deploy", "other"),
        {"tap-x.start": "2026"},
    )
    (timer,) = timers([], [found]).values()
    assert timer.when == "0 0 6 * * *, after deploy, after other"


@pytest.mark.parametrize(
    ("data", "runs"),
    [
        ({}, ""),
        ({"script": "meltano run load"}, "a script"),
        ({"actions": "load", "triggered_by": "deploy", "properties": [1]}, "load"),
    ],
)
def test_a_pipelines_file_may_say_less(data, runs):
    found = pipeline("pipelines/a.yml", data)
    assert isinstance(found, Pipeline)
    assert (found.runs, found.schedule, found.properties) == (runs, None, {})


@pytest.mark.parametrize("data", [None, [], "text", 1])
def test_what_is_no_mapping_is_no_pipeline(data):
    assert isinstance(pipeline("pipelines/a.yml", data), Unreadable)


def test_of_two_schedules_of_one_name_the_first_counts():
    both = [Schedule("s", "@daily", ("a",), HERE), Schedule("s", "@hourly", ("b",), HERE)]
    (timer,) = timers(both, []).values()
    assert timer.runs == "a"
