"""Verdicts combine so that nothing opens too soon, and read as one line each."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster.gate.verdicts import all_of, any_of, is_open, line, lines, nested
from dataops_dagster.model import State, Verdict
from tests.conftest import NOW
from tests.facts import verdict

PASSED, FAILED, PENDING = (verdict(state) for state in (State.PASSED, State.FAILED, State.PENDING))
VERDICTS = st.builds(
    Verdict,
    condition=st.just("condition"),
    state=st.sampled_from(State),
    reason=st.sampled_from(["one", "two"]),
    who=st.sampled_from(["Ada", "Ben"]),
    earliest=st.none() | st.integers(1, 9).map(lambda hours: NOW + timedelta(hours=hours)),
)


def until(hours: int, state=State.PENDING, **more) -> Verdict:
    return verdict(state, earliest=NOW + timedelta(hours=hours), **more)


# --- whether it is open -----------------------------------------------------------------------


def test_a_gate_without_conditions_is_open():
    assert is_open([])
    assert all_of("gate", []).state is State.PASSED


@pytest.mark.parametrize("held", [PENDING, FAILED])
def test_one_condition_that_is_not_passed_holds_all(held):
    assert not is_open([PASSED, held, PASSED])
    assert is_open([PASSED, PASSED])


@given(parts=st.lists(VERDICTS, min_size=2, max_size=4))
def test_all_pass_together_or_not_at_all_and_one_that_failed_fails_all(parts):
    found = all_of("gate", parts)
    states = {part.state for part in parts}
    assert (found.state is State.PASSED) == is_open(parts) == (states == {State.PASSED})
    assert (found.state is State.FAILED) == (State.FAILED in states)
    assert found.parts == tuple(parts)


@given(parts=st.lists(VERDICTS.filter(lambda v: v.state is not State.PASSED), min_size=1))
def test_of_what_any_may_pass_only_the_failure_of_all_fails_it(parts):
    found = any_of("upstreams", parts)
    failed = all(part.state is State.FAILED for part in parts)
    assert found.state is (State.FAILED if failed else State.PENDING)
    assert found.parts == tuple(parts)


# --- when it can be ---------------------------------------------------------------------------


def test_all_open_with_the_last_of_them_and_what_passed_does_not_matter():
    found = all_of("gate", [until(2), until(3), until(9, State.PASSED)])
    assert found.earliest == NOW + timedelta(hours=3)


def test_any_open_with_the_first_of_them():
    assert any_of("upstreams", [until(2), until(3)]).earliest == NOW + timedelta(hours=2)


@pytest.mark.parametrize("combine", [all_of, any_of])
@pytest.mark.parametrize("other", [PENDING, FAILED])
def test_nobody_can_say_when_where_a_person_has_to_act(combine, other):
    assert combine("gate", [until(2), other]).earliest is None


# --- what is told -----------------------------------------------------------------------------


def test_a_single_part_speaks_for_itself():
    part = until(2, reason="soaks")
    assert all_of("gate", [part]) is part


def test_all_tell_what_holds_them_and_any_what_they_wait_for_naming_nobody_twice():
    parts = [
        verdict(State.PENDING, r, who=w) for r, w in (("a", "Ada"), ("b", "Ben"), ("c", "Ada"))
    ]
    held = all_of("gate", [*parts, verdict(State.PASSED, "d", who="Cy")])
    assert (held.reason, held.who) == ("a; b; c", "Ada; Ben")
    either = any_of("upstreams", parts)
    assert (either.reason, either.who) == ("a; or b; or c", "Ada; or Ben")


def test_a_tree_of_verdicts_reads_from_its_top_each_part_deeper():
    inner = Verdict("inner", State.PENDING, "waits", "Ada")
    outer = Verdict("outer", State.PENDING, "waits", "Ada", parts=(inner, PASSED))
    last = Verdict("last", State.PASSED, "is open", "nobody")
    assert [(depth, v.condition) for depth, v in nested([outer, last])] == [
        (0, "outer"),
        (1, "inner"),
        (1, "condition"),
        (0, "last"),
    ]
    assert lines([outer, last], depth=1) == [
        "  waits outer: 1 of 2 passed",
        "    waits inner: waits [Ada]",
        "    passed condition: ",
        "  passed last: is open",
    ]


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (until(1, State.PASSED, reason="is open"), "passed condition: is open"),
        (verdict(State.FAILED, "never"), "closed condition: never [somebody]"),
        (
            until(1, reason="soaks"),
            "waits condition: soaks [not before 2026-11-22 07:00 UTC] [somebody]",
        ),
    ],
)
def test_a_line_says_where_it_stands_why_when_and_who_can_change_that(told, text):
    assert line(told) == text
