"""Definitions of data sources and pipes: what is compared with Tinybird, and what may be lost."""

from __future__ import annotations

import time

import pytest

from dataops_dagster.tinybird.definitions import (
    UNKNOWN,
    of_datasource,
    of_file,
    of_pipe,
    of_queries,
    of_tables,
)

RIDES = """\
DESCRIPTION >
    One row a ride

SCHEMA >
    `ride_id` Int64 `json:$.ride_id`,
    `station` LowCardinality(String) `json:$.station` DEFAULT 'a, b',
    `minutes` AggregateFunction(sum, Int32),
    `price` Decimal(18, 2) CODEC(Delta, ZSTD(1))

ENGINE "MergeTree"
ENGINE_PARTITION_KEY "toYYYYMM(started_at)"
ENGINE_SORTING_KEY "station, started_at"
ENGINE_TTL "started_at + INTERVAL 90 DAY"
"""
THERE = {
    "schema": {
        "sql_schema": "`ride_id` Int64, `station` LowCardinality(String),"
        " `minutes` AggregateFunction(sum,Int32), `price` Decimal(18,2)"
    },
    "engine": {
        "engine": "ReplicatedMergeTree",
        "partition_key": "toYYYYMM(started_at)",
        "sorting_key": "(station,started_at)",
        "ttl": "started_at + INTERVAL 90 DAY",
        "version": None,
    },
}
TOP = """\
NODE busiest
DESCRIPTION >
    SELECT is no SQL here
SQL >
    %
    SELECT station, count() AS rides -- all of them
    FROM rides WHERE minutes > {{Int32(minutes, 5)}}

NODE top
SQL >
    SELECT * FROM busiest /* the first */
    LIMIT 3
TYPE endpoint
"""
NODES = {
    "nodes": [
        {
            "name": "busiest",
            "sql": "%\nSELECT station,count() AS rides FROM rides\nWHERE minutes>{{ Int32(minutes,5) }}",
        },
        {"name": "top", "sql": "SELECT *\nFROM busiest__v3 LIMIT 3;"},
    ]
}


@pytest.mark.parametrize(
    ("old", "new", "told", "is_lossy"),
    [
        ("", "", "", False),
        ("One row a ride", "Another description", "", False),
        ("    `", "\t`", "", False),
        ('ENGINE "', '# a comment\n\nENGINE "', "", False),
        ('"station, started_at"', "(station,  started_at)", "", False),
        ("`ride_id` Int64 `json:$.ride_id`,", "", "drops column ride_id", True),
        ("`ride_id` Int64", "`ride_id` Int32", "ride_id: Int64 becomes Int32", True),
        ("`ride_id` Int64", "`ride_id` Nullable(Int64)", "ride_id: Int64 becomes Nullable(Int64)", False),
        ("`ride_id` Int64", "`bicycle` String, `ride_id` Int64", "adds column bicycle", False),
        ("MergeTree", "ReplacingMergeTree", "engine: MergeTree becomes ReplacingMergeTree", True),
        ('"station, started_at"', "started_at", "sorting key: station,started_at becomes started_at", True),
        ("toYYYYMM", "toYear", "partition key: toYYYYMM(started_at) becomes toYear(started_at)", True),
        ("90 DAY", "30 DAY", "ttl: started_at+INTERVAL90DAY becomes started_at+INTERVAL30DAY", True),
        ('ENGINE_TTL "started_at + INTERVAL 90 DAY"', "", "takes the TTL away", False),
        ("ENGINE_TTL", "ENGINE_VERSION 3\nENGINE_TTL", "", False),  # which Tinybird does not tell
        ("`price` Decimal", "`$PRICE` Decimal", UNKNOWN, True),
        ("SCHEMA >", "  SCHEMA >", UNKNOWN, True),
        ("ENGINE_TTL", 'INCLUDE "lost.incl"\nENGINE_TTL', UNKNOWN, True),
    ],
)  # fmt: skip
def test_a_data_source_differs_by_columns_and_engine(old, new, told, is_lossy):
    found = of_tables(of_datasource(THERE), of_file(RIDES.replace(old, new) if old else RIDES))
    assert (found.told, found.is_lossy) == (told, is_lossy) if told else found is None


def test_a_first_ttl_may_lose_rows():
    there = {**THERE, "engine": {**THERE["engine"], "ttl": ""}}
    found = of_tables(of_datasource(there), of_file(RIDES))
    assert found.told == "ttl: none becomes started_at+INTERVAL90DAY"
    assert found.is_lossy


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", ""),
        ("SELECT is no SQL", "Another text", ""),
        ("-- all of them", "-- none\n    -- of them", ""),
        ("    FROM", "\n\n       FROM", ""),
        ("LIMIT 3", "LIMIT 4", "SQL of top"),
        ("station, count()", "'station', count()", "SQL of busiest"),
        ("NODE top", "NODE first", "SQL of top, first"),
        ("minutes > ", "minutes > $MINUTES + ", UNKNOWN),
    ],
)
def test_a_pipe_differs_by_the_sql_of_its_nodes(old, new, told):
    found = of_queries(of_pipe(NODES), of_file(TOP.replace(old, new) if old else TOP))
    assert (found.told, found.is_lossy) == (told, False) if told else found is None


@pytest.mark.parametrize("answer", [{}, {"schema": 3}, {"schema": {"sql_schema": ""}}, {"nodes": 7},
                                    {"nodes": [{"name": "a"}]}, {"nodes": [3]}])  # fmt: skip
def test_what_tinybird_does_not_tell_cannot_be_compared(answer):
    assert of_tables(of_datasource(answer), of_file(RIDES)).told == UNKNOWN
    assert of_queries(of_pipe(answer), of_file(TOP)).told == UNKNOWN


@pytest.mark.parametrize(
    "part", ["/*", "'\\", '"', "`", "(", "$", "--", "a, ", "NODE a\nSQL >\n '", "__v1"]
)
def test_a_hostile_definition_takes_no_more_time_than_its_length(part):
    def seconds(length: int) -> float:
        begin = time.process_time()
        for head in ("SCHEMA >\n    ", "NODE a\nSQL >\n    ", ""):
            text = head + part * (length // len(part))
            of_queries(of_file(text), of_pipe({"nodes": [{"name": "a", "sql": text}]}))
        return time.process_time() - begin

    assert seconds(80_000) < 40 * (seconds(8_000) + 0.02)
