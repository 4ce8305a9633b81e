"""Meltano's log as facts: rows, and who failed; whatever plug-ins write into it."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from dataops_dagster.meltano.log import STREAMS, Log
from dataops_dagster.meltano.model import Place, Plugin
from dataops_dagster.meltano.pipelines import Pipeline
from dataops_dagster.model import Facts, Failing, Stream


def plugin(type_: str, name: str) -> Plugin:
    return Plugin(type_, name, Place("meltano.yml", 1))


LOAD = Pipeline(
    (plugin("extractors", "tap-a"), plugin("mappers", "hide"), plugin("loaders", "target-b")),
    "staging:tap-a-to-target-b",
)
TEST = Pipeline((plugin("utilities", "dbt"),))


def entry(event: str, **more: object) -> str:
    return json.dumps({"event": event, "level": "info", **more})


def said(text: str, who: str = "tap-a", **more: object) -> str:
    """Return what Meltano writes for a line of a plug-in."""
    told = {"producer": who == "tap-a", "consumer": who == "target-b"}
    job = {"job_name": LOAD.state_id, "string_id": who, "name": who}
    return entry(text, **{"stdio": "stderr", **job, **told, **more})


def metric(stream: object, value: object, **more: object) -> str:
    return "METRIC: " + json.dumps(
        {"type": "counter", "metric": "record_count", "value": value, "tags": {"stream": stream}}
        | more
    )


def facts(*lines: str) -> Facts:
    log = Log([LOAD, TEST])
    for line in lines:
        log.take(line)
    return log.facts()


def ended(number: object, codes: object, *, err: str = "failed", success: object = False) -> str:
    return entry(
        "Block run completed", set_number=number, success=success, err=err, exit_codes=codes
    )


def test_the_rows_of_a_stream_are_the_sum_of_what_the_extractor_counted():
    lines = [said(metric("users", 3)), said(metric("users", 4)), said(metric("orders", 0))]
    assert facts(*lines).streams == (Stream("tap-a", "orders", 0), Stream("tap-a", "users", 7))


def test_what_extractor_and_loader_both_counted_is_told_once_as_the_extractor_says():
    lines = [said(metric("users", 3)), said(metric("users", 2), "target-b")]
    assert facts(*lines).streams == (Stream("tap-a", "users", 3),)


def test_a_loader_counts_where_the_extractor_is_silent():
    assert facts(said(metric("users", 3), "target-b")).streams == (Stream("tap-a", "users", 3),)


def test_a_mapper_does_not_count():
    assert not facts(said(metric("users", 3), "hide", producer=True, consumer=True)).streams


def test_a_metric_of_structured_logging_is_counted_too():
    told = json.loads(metric("users", 3).removeprefix("METRIC: "))
    assert facts(said("METRIC", metric_info=told)).streams == (Stream("tap-a", "users", 3),)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        "[" * 9_999,
        '{"event": ' + "[" * 9_000,
        "1" * 9_999,
        '{"event": ["METRIC"]}',
        "null",
        said("METRIC: " + "[" * 5_000),
        said("METRIC: 5"),
        said("METRIC", metric_info=[1]),
        said(metric("users", -1)),
        said(metric("users", True)),
        said(metric("users", 1.5)),
        said(metric("users", "3")),
        said(metric(["users"], 3)),
        said(metric("\u202e\x1b", 3)),
        said(metric("users", 3, tags=[])),
        said(metric("users", 3, metric="http_request_count")),
        said(metric("users", 3), string_id=5),
        entry(metric("users", 3)),
        ended(0, {"extractors": "7"}),
        ended(0, {"extractors": True}),
        ended(0, "7"),
        ended("0", {"extractors": 7}),
        ended(0, {"extractors": 7}, success=True),
    ],
)
def test_what_is_no_fact_is_passed_over(line):
    assert facts(line) == Facts()


def test_what_a_plug_in_says_cannot_pass_for_meltanos_own_ending():
    log = Log([LOAD])
    told = json.loads(ended(0, {"loaders": 9})) | {"stdio": "stderr", "name": "tap-a"}
    assert log.take(json.dumps(told)) == "tap-a: Block run completed"
    assert log.facts() == Facts()


def test_names_are_inert_and_short():
    (found,) = facts(said(metric("us\x1b[31mers\u202e" + "x" * 9_000, 3))).streams
    assert found.name.startswith("us[31mersxxx")
    assert len(found.name) == 200


def test_a_flood_of_streams_takes_bounded_memory():
    log = Log([LOAD])
    tracemalloc.start()
    for number in range(20_000):
        log.take(said(metric(f"{number} " + "x" * 500, 10**300)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(log.facts().streams) == STREAMS
    assert max(stream.rows or 0 for stream in log.facts().streams) == 2**53
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("codes", "failing"),
    [
        ({"extractors": 7}, [Failing("tap-a", 7)]),
        ({"loaders": 9}, [Failing("target-b", 9)]),
        ({"extractors": 1, "loaders": 9}, [Failing("tap-a", 1), Failing("target-b", 9)]),
        ([{"hide": 3}], [Failing("hide", 3)]),
        ({"strangers": 3}, [Failing("strangers", 3)]),
    ],
)
def test_the_plug_in_that_failed_is_named_with_its_exit_code(codes, failing):
    assert list(facts(ended(0, codes)).failing) == failing


def test_a_command_that_failed_is_named_with_its_exit_code():
    line = ended(1, {}, err="`dbt run` failed with exit code: 2")
    assert facts(line).failing == (Failing("dbt", 2),)


def test_a_block_that_nobody_knows_is_named_by_the_type_of_its_plug_in():
    assert facts(ended(7, {"loaders": 9})).failing == (Failing("loaders", 9),)


def test_the_first_failure_is_the_one_that_counts():
    found = facts(ended(0, {"loaders": 9}), ended(0, {"extractors": 1}))
    assert found.failing == (Failing("target-b", 9),)


def test_people_read_who_said_what_and_not_how_it_ended():
    log = Log([LOAD])
    assert log.take(said("reading\nusers")) == "tap-a: reading users"
    assert log.take(entry("Environment is active")) == "meltano: Environment is active"
    assert log.take("Traceback") == "Traceback"
    assert log.take(entry("Run completed", status="success")) is None
