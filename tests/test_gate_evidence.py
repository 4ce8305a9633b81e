"""The gate opens for what runs proved, and for nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster.gate.decisions import SKEW
from dataops_dagster.gate.evidence import (
    Candidate,
    Choice,
    Witness,
    choose,
    evidence_verdict,
    soak_verdict,
    what_ran,
)
from dataops_dagster.gate.verdicts import is_open
from dataops_dagster.model import DecisionKind, Outcome, State, Verdict
from dataops_dagster.settings import Supersede
from dataops_dagster.settings_gate import Gate
from dataops_dagster.settings_steps import CommandStep, MeltanoStep
from tests.conftest import NOW
from tests.facts import INSTANT, decision, evidence, lift

NEW, MIDDLE, OLD = COMMITS = [f"{i:040x}" for i in range(1, 4)]
"""Three commits, newest first."""

FAILED, ERRORED = Outcome.FAILED, Outcome.ERRORED


def tree(commit: str) -> str:
    return commit[::-1]


def witness(found, upstream="staging") -> Witness:
    return Witness(upstream, "staging", {c: [e for e in found if e.commit == c] for c in COMMITS})


def chosen(found, gate=None, *, decisions=(), now=NOW, supersede=Supersede.LATEST) -> Choice:
    return choose(
        [Candidate(commit, tree(commit)) for commit in COMMITS],
        [witness(found)],
        gate or Gate(),
        decisions,
        now=now,
        supersede=supersede,
    )


def passed(*arguments, **more) -> str | None:
    """Return the commit that the gate takes; one that is proven and waits is none yet."""
    choice = chosen(*arguments, **more)
    return choice.commit if is_open(choice.verdicts) else None


def judged(found, now=NOW, **gate) -> Verdict:
    return evidence_verdict(NEW, witness(found), Gate(**gate), now=now)


def soaked(found, soak="1h", now=NOW) -> Verdict:
    return soak_verdict(NEW, witness(found), Gate(soak=soak).soak, now=now)


def earlier(seconds: int, commit=NEW, outcome=Outcome.PASSED, **more):
    return evidence(commit, outcome, at=-seconds, **more)


# --- any history ------------------------------------------------------------------------------

GATES = st.builds(
    Gate,
    runs=st.integers(1, 3),
    max_age=st.none() | st.sampled_from(["5m", "1h"]),
    soak=st.none() | st.sampled_from(["4m", "30m"]),
)


@st.composite
def histories(draw):
    """Draw runs from an hour ago to a quarter of one ahead, of candidates and of others."""
    moments = st.integers(-60, 15).map(lambda minutes: minutes * 60)
    commits = st.sampled_from([*COMMITS, "f" * 40])
    runs = draw(st.lists(st.tuples(moments, commits, st.sampled_from(Outcome)), max_size=12))
    return [
        evidence(commit, outcome, at=at, run=f"run-{number}")
        for number, (at, commit, outcome) in enumerate(runs)
    ]


def passes(commit, found, gate, now):
    """Say in other words than the gate's whether a commit is proven."""
    runs = [e for e in found if e.commit == commit and e.time <= now + SKEW]
    broken = [e.time for e in found if e.commit == commit and e.outcome is FAILED]
    good = [e for e in runs if e.outcome is Outcome.PASSED and all(e.time > t for t in broken)]
    young = [e for e in good if gate.max_age is None or e.time >= now - gate.max_age]
    stood = gate.soak is None or any(e.time + gate.soak <= now for e in good)
    return len(young) >= gate.runs and stood


@given(found=histories(), gate=GATES)
def test_the_newest_commit_that_passes_is_chosen_or_the_oldest_where_every_one_is_asked_for(
    found, gate
):
    passing = [c for c in COMMITS if passes(c, found, gate, NOW)]
    assert passed(found, gate) == (passing[0] if passing else None)
    every = passed(found, gate, supersede=Supersede.EVERY)
    assert every == (passing[-1] if passing else None)


@given(found=histories(), gate=GATES, data=st.data())
def test_the_order_in_which_evidence_is_found_does_not_matter(found, gate, data):
    shuffled = data.draw(st.permutations(found))
    one, other = chosen(shuffled, gate), chosen(found, gate)
    assert one.commit == other.commit
    assert [v.state for v in one.verdicts] == [v.state for v in other.verdicts]


@given(found=histories(), gate=GATES, at=st.integers(901, 10**6))
def test_a_later_failure_revokes_whatever_was_proven_even_one_that_is_yet_to_come(found, gate, at):
    failures = [evidence(commit, FAILED, at=at) for commit in COMMITS]
    assert chosen([*found, *failures], gate).commit is None


@given(found=histories(), gate=GATES)
def test_evidence_of_other_commits_changes_nothing(found, gate):
    others = [e for e in found if e.commit in COMMITS]
    assert chosen(found, gate) == chosen(others, gate)


@given(found=histories(), gate=GATES)
def test_a_run_that_could_not_find_out_changes_nothing(found, gate):
    told = [e for e in found if e.outcome is not ERRORED]
    assert chosen(found, gate) == chosen(told, gate)


@given(found=histories(), gate=GATES)
def test_a_commit_that_is_proven_is_chosen_although_it_waits(found, gate):
    choice = chosen(found, gate)
    assert (choice.verdicts[0].state is State.PASSED) == (choice.commit is not None)


@given(found=histories(), gate=GATES)
def test_what_proved_the_commit_are_the_last_of_its_runs_as_many_as_are_asked_for(found, gate):
    choice = chosen(found, gate)
    assert len(choice.evidence) == (gate.runs if choice.commit else 0)
    assert all(e.commit == choice.commit for e in choice.evidence)
    assert all(e.outcome is Outcome.PASSED for e in choice.evidence)


@given(found=histories(), soak=st.sampled_from(["4m", "30m", "2h"]))
def test_a_soak_is_over_exactly_when_it_says_if_nothing_else_happens(found, soak):
    past = [e for e in found if e.time <= NOW]
    opens = soaked(past, soak).earliest
    if opens:
        assert soaked(past, soak, opens - INSTANT).state is State.PENDING
        assert soaked(past, soak, opens).state is State.PASSED
    else:
        assert soaked(past, soak).state is State.PASSED or judged(past).state is not State.PASSED


@given(found=histories(), soak=st.sampled_from(["4m", "30m", "2h"]))
def test_the_gate_that_waits_for_time_alone_opens_exactly_when_it_says(found, soak):
    past, gate = [e for e in found if e.time <= NOW], Gate(soak=soak)
    opens = chosen(past, gate).verdicts[-1].earliest
    if opens:
        assert passed(past, gate, now=opens - INSTANT) is None
        assert passed(past, gate, now=opens) is not None


# --- how many, how old ------------------------------------------------------------------------


@pytest.mark.parametrize("outcomes", [(Outcome.PASSED, FAILED), (FAILED, Outcome.PASSED)])
def test_a_pass_and_a_failure_at_the_same_moment_do_not_open_the_gate(outcomes):
    found = [evidence(NEW, outcome, at=1) for outcome in outcomes]
    assert chosen(found).commit is None


def test_a_gate_that_asks_for_two_runs_waits_for_the_second():
    assert judged([earlier(9)], runs=2) == Verdict(
        "evidence",
        State.PENDING,
        "waits for 2 successful runs of staging in environment staging:"
        " 1 of 2 are recorded for 000000000000",
        who="whoever may run staging",
    )
    assert judged([earlier(9), earlier(5)], runs=2).state is State.PASSED


def test_successes_before_a_failure_do_not_count():
    found = [earlier(9), earlier(7, outcome=FAILED), earlier(5)]
    assert judged(found, runs=2).state is State.PENDING
    assert judged([*found, earlier(3)], runs=2).state is State.PASSED


def test_one_run_that_is_told_of_twice_is_one_run():
    twice = [earlier(9, run="same"), earlier(5, run="same")]
    assert judged(twice, runs=2).state is State.PENDING


def test_a_run_proves_until_it_is_as_old_as_is_allowed_and_no_instant_longer():
    found, old = [earlier(0)], timedelta(hours=1)
    assert judged(found, NOW + old, max_age="1h").state is State.PASSED
    late = judged(found, NOW + old + INSTANT, max_age="1h")
    assert late.state is State.PENDING
    assert late.reason.endswith("older than 1h, the last of 2026-11-22 06:00 UTC")


def test_clocks_may_differ_by_minutes_but_what_is_later_has_not_happened_yet():
    soon = int(SKEW.total_seconds())
    assert judged([evidence(NEW, at=soon)]).state is State.PASSED
    assert judged([evidence(NEW, at=soon + 1)]).state is State.PENDING


def test_a_failure_is_told_although_a_success_is_dated_in_the_future():
    found = [earlier(9, outcome=FAILED), evidence(NEW, at=9999)]
    assert judged(found).state is State.FAILED


def test_a_gate_that_asks_for_no_run_takes_the_newest():
    choice = choose([Candidate(c, "") for c in COMMITS], [], Gate(runs=0), [], now=NOW)
    assert choice == Choice(NEW, ())


# --- what is chosen ---------------------------------------------------------------------------


def test_a_failing_commit_lets_an_older_one_in():
    assert chosen([earlier(5, outcome=FAILED), earlier(9, MIDDLE)]).commit == MIDDLE


@pytest.mark.parametrize("what", [{"commit": NEW}, {"commit": "f" * 40, "tree": tree(NEW)}])
def test_a_commit_that_was_rejected_lets_an_older_one_in_until_that_is_lifted(what):
    found = [earlier(5), earlier(9, MIDDLE)]
    rejection = decision(DecisionKind.REJECT, "r", **what)
    assert passed(found, decisions=[rejection]) == MIDDLE
    assert passed(found, decisions=[rejection, *lift("r")]) == NEW


def test_a_rejection_closes_a_gate_that_asks_for_no_run():
    rejections = [decision(DecisionKind.REJECT, c, commit=c) for c in COMMITS]
    choice = choose([Candidate(c, "") for c in COMMITS], [], Gate(runs=0), rejections, now=NOW)
    assert choice.commit is None
    assert [v.condition for v in choice.verdicts] == ["rejected"]


def test_all_upstreams_must_have_proved_the_commit():
    both = [witness([earlier(9)]), witness([], "review")]
    candidates = [Candidate(c, "") for c in COMMITS]
    choice = choose(candidates, both, Gate(), [], now=NOW)
    assert choice.commit is None
    assert [p.state for p in choice.verdicts[0].parts] == [State.PASSED, State.PENDING]
    both[1] = witness([earlier(9)], "review")
    assert len(choose(candidates, both, Gate(), [], now=NOW).evidence) == 2


def test_told_is_the_candidate_that_the_gate_opens_for_first():
    found = [earlier(60), earlier(1800, MIDDLE)]
    choice = chosen(found, Gate(soak="1h"))
    assert choice.verdicts[-1].earliest == NOW + timedelta(minutes=30)


def test_told_is_the_newest_where_no_time_opens_the_gate():
    rejection = decision(DecisionKind.REJECT, commit=MIDDLE)
    choice = chosen([earlier(9, MIDDLE)], decisions=[rejection])
    assert [v.condition for v in choice.verdicts] == ["evidence"]
    assert "no run is recorded for 000000000000 and 2 more" in choice.verdicts[0].reason


# --- soak -------------------------------------------------------------------------------------


def test_a_soak_begins_with_the_first_success_since_the_last_failure():
    found = [earlier(7200), earlier(3000, outcome=FAILED), earlier(2000), earlier(1000)]
    assert soaked(found).earliest == NOW + timedelta(seconds=1600)


def test_a_soak_has_no_end_before_it_began():
    assert soaked([]) == Verdict(
        "soak",
        State.PENDING,
        "begins with a successful run of staging",
        who="whoever may run staging",
    )
    assert soaked([earlier(9, outcome=FAILED)]).earliest is None


def test_a_soak_goes_on_past_the_age_at_which_runs_prove_nothing():
    found = [earlier(7200), earlier(60)]
    assert chosen(found, Gate(soak="1h", max_age="5m")).commit == NEW


# --- what is told -----------------------------------------------------------------------------


def test_without_evidence_the_gate_says_what_it_waits_for_and_who_can_help():
    assert chosen([]).verdicts == (
        Verdict(
            "evidence",
            State.PENDING,
            "waits for a successful run of staging in environment staging:"
            " no run is recorded for 000000000000 and 2 more",
            who="whoever may run staging",
        ),
    )


def test_a_failure_is_told_with_its_run_and_its_detail():
    found = judged([earlier(3, outcome=FAILED, run="run-3", detail="exit code 1")])
    assert found.state is State.FAILED
    assert found.reason.endswith("its run at 000000000000 failed (exit code 1), run run-3")
    assert found.who == "whoever can mend staging"


def test_the_newest_failure_is_told_of_several():
    found = [evidence(c, FAILED, at=i, run=f"run-{i}") for i, c in enumerate(COMMITS)]
    assert chosen(found).verdicts[0].reason.endswith("run run-0")


def test_a_pass_names_the_run_that_proved_it():
    found = chosen([earlier(5, OLD, run="run-5")]).verdicts[0]
    assert found.state is State.PASSED
    assert "(run run-5)" in found.reason
    assert (
        "(2 runs, the last is last)" in judged([earlier(5), earlier(3, run="last")], runs=2).reason
    )


# --- what a run is ----------------------------------------------------------------------------

STEP = CommandStep(platform="command", command=("sh", "run.sh"))


@pytest.mark.parametrize(
    "other",
    [
        {"step": STEP.model_copy(update={"command": ("sh run.sh",)})},
        {"step": STEP.model_copy(update={"variables": ("TOKEN",)})},
        {"step": MeltanoStep(platform="meltano", run=("sh", "run.sh"))},
        {"tree": "e" * 40},
        {"environment": "prod"},
        {"at": ("api.example.com:443", "staging_acme")},
    ],
)
def test_a_run_of_something_else_is_another_run(other):
    asked = {"step": STEP, "tree": "d" * 40, "environment": "staging"}
    assert what_ran(**asked) != what_ran(**{**asked, **other})


def test_when_and_how_long_a_run_may_take_does_not_make_it_another():
    step = CommandStep(platform="command", command=STEP.command, when="manual", deadline="9h")
    assert what_ran(step, tree="d", environment="x") == what_ran(STEP, tree="d", environment="x")
