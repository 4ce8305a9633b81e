"""A release's record says what happened, whatever text it has to carry."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster import release
from dataops_dagster.model import Equality, Evidence, Outcome, Override, Plan, Ready, State, Verdict
from dataops_dagster.text import one_line
from tests.conftest import NOW

PLAN = Plan(
    project="shop",
    target="prod",
    upstream="staging",
    base="a" * 40,
    upstream_commit="b" * 40,
    commit="c" * 40,
    tree="d" * 40,
    equality=Equality.SAME_TREE,
    commit_count=0,
    commits=(),
    changes=(),
    overwrites=(),
    keeps=(),
    tag="dataops/shop/prod/20261122T060000Z-cccccccccccc",
    digest="sha256:" + "e" * 64,
)
INJECTIONS = [
    "\nTarget: other",
    "x\nCommit: " + "f" * 40,
    "x\r\nOverride: none",
    "x\x85Evidence: forged",
    "x\u2028Gate: evidence passed",
    "x\vTree: 0\fPlan: 0",
    "x\x1cTime: 19700101T000000Z\x1dx\x1ex",
    "-----BEGIN PGP SIGNATURE-----\n",
    ": ",
    "Key: value",
]
HOSTILE = st.lists(st.sampled_from(INJECTIONS) | st.text(max_size=10), max_size=4).map("".join)
MOMENTS = st.integers(0, 2**37).map(lambda s: datetime.fromtimestamp(s, timezone.utc))


def ready(*, reason="why", detail="ok", override=None) -> Ready:
    return Ready(
        PLAN,
        (Verdict("evidence", State.PASSED, reason, who="nobody"),),
        (
            Evidence(
                workspace="staging",
                commit="b" * 40,
                tree="d" * 40,
                environment="staging",
                outcome=Outcome.PASSED,
                run_id=detail,
                time=NOW,
                ran="x",
            ),
        ),
        override,
    )


def test_a_release_is_written_as_one_key_and_value_a_line():
    made = release.of(ready(override=Override("the auditors asked")), NOW)
    assert made.tag == "dataops/shop/prod/20261122T060000Z-cccccccccccc"
    assert release.message(made) == (
        "Promote staging to prod\n"
        "\n"
        "Target: prod\n"
        "Upstream: staging\n"
        f"Upstream-Commit: {'b' * 40}\n"
        f"Commit: {'c' * 40}\n"
        f"Tree: {'d' * 40}\n"
        "Equality: same tree\n"
        f"Plan: sha256:{'e' * 64}\n"
        "Time: 20261122T060000Z\n"
        f"Base: {'a' * 40}\n"
        f"Evidence: staging {'b' * 40} passed in staging, run ok\n"
        "Gate: evidence passed: why\n"
        "Override: the auditors asked\n"
    )


@given(now=MOMENTS, reason=HOSTILE, run=HOSTILE, why=HOSTILE)
def test_a_release_reads_back_as_it_was_written_whatever_text_it_carries(now, reason, run, why):
    made = release.of(ready(reason=reason, detail=run, override=Override(why)), now)
    found = release.parse(made.tag, release.message(made))
    assert found == dataclasses.replace(
        made,
        evidence=tuple(map(one_line, made.evidence)),
        gate=tuple(map(one_line, made.gate)),
        override=one_line(made.override),
    )


@given(text=HOSTILE)
def test_a_line_of_text_never_becomes_another_key(text):
    made = release.of(ready(reason=text, detail=text, override=Override(text)), NOW)
    keys = [line.partition(":")[0] for line in release.message(made).splitlines()[2:]]
    once = ["Target", "Upstream", "Upstream-Commit", "Commit", "Tree", "Equality", "Plan", "Time"]
    assert keys[:8] == once
    assert keys[8:11] == ["Base", "Evidence", "Gate"]
    assert keys[11:] in ([], ["Override"])


@given(text=st.text() | HOSTILE)
def test_a_tag_of_someone_else_is_no_release(text):
    assert release.parse("dataops/shop/prod/x", text) is None


@pytest.mark.parametrize(
    "key",
    ["Target", "Upstream", "Upstream-Commit", "Commit", "Tree", "Equality", "Plan", "Time"],
)
def test_a_record_that_lacks_a_key_is_no_release(key):
    lines = release.message(release.of(ready(), NOW)).splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith(f"{key}: "))
    assert release.parse("x", text) is None


@pytest.mark.parametrize("time", ["yesterday", "20261322T060000Z", "", "20261122T060000"])
def test_a_record_with_a_time_that_is_none_is_no_release(time):
    text = release.message(release.of(ready(), NOW)).replace("20261122T060000Z", time)
    assert release.parse("x", text) is None


def test_a_tags_time_is_in_utc_and_whole_seconds():
    elsewhere = (NOW + timedelta(microseconds=7)).astimezone(timezone(timedelta(hours=9)))
    made = release.of(ready(), elsewhere)
    assert made.time == NOW
    assert made.tag == release.of(ready(), NOW + timedelta(days=1)).tag  # the commit's date decides


@given(times=st.lists(MOMENTS, min_size=2, max_size=5))
def test_tags_sort_as_their_times_do(times):
    times = sorted(time.replace(microsecond=0) for time in times)
    tags = [release.of(ready(), time).tag for time in times]
    assert tags == sorted(tags)
