"""The gate opens for what a run proved, and for nothing else."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster import gate
from dataops_dagster.model import Evidence, Outcome, State, Verdict
from tests.conftest import NOW

COMMITS = [f"{i:040x}" for i in range(1, 6)]
"""Five commits, newest first."""


def evidence(commit: str, outcome: Outcome = Outcome.PASSED, *, at: int = 0, detail="") -> Evidence:
    return Evidence(
        workspace="staging",
        commit=commit,
        tree="d" * 40,
        environment="staging",
        outcome=outcome,
        run_id=f"run-{at}",
        time=NOW + timedelta(seconds=at),
        ran="sh run.sh",
        detail=detail,
    )


def verdict(found, commits=COMMITS) -> Verdict:
    return gate.evidence_verdict(commits, found, upstream="staging", environment="staging")


@st.composite
def histories(draw):
    """Draw runs at times of their own, of candidates and of commits that are none."""
    times = draw(st.lists(st.integers(0, 1000), unique=True, max_size=12))
    commits = st.sampled_from([*COMMITS, "f" * 40])
    outcomes = st.sampled_from(Outcome)
    return [evidence(draw(commits), draw(outcomes), at=at) for at in times]


@given(found=histories())
def test_the_proven_commit_is_a_candidate_whose_latest_run_passed(found):
    proof = gate.newest_proven(COMMITS, found)
    if proof:
        commit, run = proof
        assert commit in COMMITS
        assert run.commit == commit
        assert run.outcome is Outcome.PASSED
        assert all(other.time <= run.time for other in found if other.commit == commit)


@given(found=histories())
def test_no_newer_candidate_is_proven_than_the_one_that_is_chosen(found):
    proof = gate.newest_proven(COMMITS, found)
    newer = COMMITS[: COMMITS.index(proof[0])] if proof else COMMITS
    for commit in newer:
        runs = sorted((e for e in found if e.commit == commit), key=lambda e: e.time)
        assert not runs or runs[-1].outcome is Outcome.FAILED


@given(found=histories(), data=st.data())
def test_the_order_in_which_evidence_is_found_does_not_matter(found, data):
    shuffled = data.draw(st.permutations(found))
    assert gate.newest_proven(COMMITS, shuffled) == gate.newest_proven(COMMITS, found)


@given(found=histories())
def test_a_later_failure_never_opens_a_gate(found):
    failures = [evidence(commit, Outcome.FAILED, at=2000) for commit in COMMITS]
    assert gate.newest_proven(COMMITS, [*found, *failures]) is None


@given(found=histories())
def test_evidence_of_other_commits_changes_nothing(found):
    others = [e for e in found if e.commit in COMMITS]
    assert gate.newest_proven(COMMITS, found) == gate.newest_proven(COMMITS, others)


@given(found=histories())
def test_the_verdict_passes_exactly_when_something_is_proven(found):
    proof = gate.newest_proven(COMMITS, found)
    assert (verdict(found).state is State.PASSED) == (proof is not None)
    assert gate.is_open([verdict(found)]) == (proof is not None)


@given(outcomes=st.permutations([Outcome.PASSED, Outcome.FAILED]))
def test_a_pass_and_a_failure_at_the_same_moment_do_not_open_the_gate(outcomes):
    found = [evidence(COMMITS[0], outcome, at=1) for outcome in outcomes]
    assert gate.newest_proven(COMMITS, found) is None


def test_without_evidence_the_gate_says_what_it_waits_for_and_who_can_help():
    assert verdict([]) == Verdict(
        "evidence",
        State.PENDING,
        "waits for a successful run of staging in environment staging:"
        " no run is recorded for 000000000000 and 4 more",
        who="whoever may run staging",
    )


def test_a_failure_is_told_with_its_run_and_its_detail():
    found = verdict([evidence(COMMITS[0], Outcome.FAILED, at=3, detail="exit code 1")])
    assert found.state is State.FAILED
    assert found.reason.endswith("its run at 000000000000 failed (exit code 1), run run-3")
    assert found.who == "whoever can mend staging"


def test_the_newest_failure_is_told_of_several():
    found = [evidence(commit, Outcome.FAILED, at=i) for i, commit in enumerate(COMMITS)]
    assert verdict(found).reason.endswith("run run-0")


def test_a_pass_names_the_run_that_proved_it():
    found = verdict([evidence(COMMITS[2], at=5)])
    assert found.state is State.PASSED
    assert "(run run-5)" in found.reason


def test_an_override_passes_and_keeps_what_it_passed_over():
    held = verdict([])
    passed = gate.overridden(held, "the auditors asked")
    assert passed.state is State.PASSED
    assert passed.reason == f"overridden (the auditors asked): {held.reason}"


def test_a_gate_without_conditions_is_open():
    assert gate.is_open([])


def test_one_condition_that_is_not_passed_holds_all():
    passed = Verdict("a", State.PASSED, "", who="")
    for state in (State.PENDING, State.FAILED):
        assert not gate.is_open([passed, Verdict("b", state, "", who=""), passed])
