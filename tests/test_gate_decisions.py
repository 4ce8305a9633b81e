"""What people decided counts exactly as they said it, and as long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster.gate.decisions import (
    SKEW,
    approvals_verdict,
    approvers,
    hold_verdict,
    in_force,
    rejected_verdict,
)
from dataops_dagster.model import DecisionKind, State, Verdict
from dataops_dagster.settings_gate import Approvals
from tests.conftest import NOW
from tests.facts import DIGEST, INSTANT, decision, lift, plan

APPROVE, HOLD, LIFT, REJECT = (
    DecisionKind.APPROVE,
    DecisionKind.HOLD,
    DecisionKind.LIFT,
    DecisionKind.REJECT,
)
HOUR = timedelta(hours=1)
MOMENTS = st.integers(-100, 100).map(lambda minutes: NOW + timedelta(minutes=minutes))


@st.composite
def decided(draw):
    """Draw decisions of all kinds, some of which lift others, or nothing."""
    kinds = draw(st.lists(st.sampled_from(DecisionKind), max_size=8))
    ids = [f"{number:040x}" for number in range(1, len(kinds) + 1)]
    return [
        decision(
            kind,
            id_,
            time=draw(MOMENTS),
            expires=None if kind is LIFT else draw(st.none() | MOMENTS),
            plan=DIGEST if kind is APPROVE else "",
            commit="c" * 40 if kind is REJECT else "",
            lifts=draw(st.sampled_from([*ids, "f" * 40])) if kind is LIFT else "",
        )
        for kind, id_ in zip(kinds, ids, strict=True)
    ]


# --- holds ------------------------------------------------------------------------------------


@given(decisions=decided(), now=MOMENTS)
def test_a_target_is_held_while_a_hold_is_neither_lifted_nor_over(decisions, now):
    lifted = [d.lifts for d in decisions if d.kind is LIFT]
    holds = [d for d in decisions if d.kind is HOLD and d.id not in lifted]
    left = [d.id for d in holds if d.expires is None or d.expires > now]
    assert [d.id for d in in_force(decisions, HOLD, now)] == left
    assert (hold_verdict(decisions, now) is not None) == bool(left)


@given(decisions=decided())
def test_a_hold_is_over_exactly_when_it_says_if_nobody_does_anything(decisions):
    found = hold_verdict(decisions, NOW)
    if found and found.earliest:
        assert hold_verdict(decisions, found.earliest - INSTANT)
        assert hold_verdict(decisions, found.earliest) is None
    elif found:
        assert hold_verdict(decisions, NOW + timedelta(days=36_500))


@given(decisions=decided(), data=st.data())
def test_the_order_in_which_decisions_are_found_changes_no_state(decisions, data):
    shuffled = data.draw(st.permutations(decisions))
    for said in (
        lambda these: hold_verdict(these, NOW) is None,
        lambda these: rejected_verdict("c" * 40, "", these, now=NOW) is None,
        lambda these: approvers(plan().digest, these, Approvals(), now=NOW)[0],
    ):
        assert said(shuffled) == said(decisions)


def test_a_hold_is_told_with_who_why_until_when_and_how_it_is_lifted():
    held = decision(HOLD, expires=NOW + HOUR)
    assert hold_verdict([held], NOW) == Verdict(
        "hold",
        State.PENDING,
        "Ada holds it until 2026-11-22 07:00 UTC: the auditors asked (hold 111111111111)",
        who="Ada: dataops lift prod 111111111111",
        earliest=NOW + HOUR,
    )


def test_of_several_holds_each_is_told_and_one_without_an_end_has_the_last_word():
    holds = [decision(HOLD, "1" * 40, expires=NOW + HOUR), decision(HOLD, "2" * 40, by="Ben")]
    found = hold_verdict(holds, NOW)
    assert found.who == "Ada: dataops lift prod 111111111111; Ben: dataops lift prod 222222222222"
    assert found.earliest is None
    assert hold_verdict([*holds, *lift("2" * 40)], NOW).earliest == NOW + HOUR


def test_of_several_holds_that_end_the_last_counts():
    holds = [decision(HOLD, f"{hours}", expires=NOW + hours * HOUR) for hours in (1, 3, 2)]
    assert hold_verdict(holds, NOW).earliest == NOW + 3 * HOUR


def test_a_target_that_nobody_ever_held_is_not_held():
    assert hold_verdict([], NOW) is None
    assert hold_verdict([decision(APPROVE), decision(REJECT), *lift("x")], NOW) is None


# --- rejections -------------------------------------------------------------------------------

COMMIT, TREE = "c" * 40, "d" * 40


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ((COMMIT, TREE), "the commit cccccccccccc"),
        ((COMMIT, "other"), "the commit cccccccccccc"),
        (("other", TREE), "its very tree"),
        (("", TREE), "its very tree"),
    ],
)
def test_a_commit_is_rejected_and_its_tree_under_any_commit(asked, what):
    found = rejected_verdict(*asked, [decision(REJECT, commit=COMMIT, tree=TREE)], now=NOW)
    assert found == Verdict(
        "rejected",
        State.FAILED,
        f"Ada rejected {what}: the auditors asked (rejection 111111111111)",
        who="Ada: dataops lift prod 111111111111",
    )


@pytest.mark.parametrize("asked", [("other", "other"), ("", ""), ("", "other"), ("other", "")])
@pytest.mark.parametrize("rejected", [{"commit": COMMIT, "tree": TREE}, {}])
def test_what_nobody_named_is_not_rejected(asked, rejected):
    assert rejected_verdict(*asked, [decision(REJECT, **rejected)], now=NOW) is None


def test_a_rejection_ends_when_it_is_lifted_by_its_id_or_when_it_said():
    rejection = decision(REJECT, "r", commit=COMMIT, expires=NOW + HOUR)
    assert rejected_verdict(COMMIT, "", [rejection, *lift("other", COMMIT)], now=NOW)
    assert rejected_verdict(COMMIT, "", [rejection, *lift("r")], now=NOW) is None
    assert rejected_verdict(COMMIT, "", [rejection], now=NOW + HOUR) is None


def test_of_two_rejections_both_have_to_be_lifted():
    twice = [decision(REJECT, id_, commit=COMMIT) for id_ in ("r", "s")]
    assert rejected_verdict(COMMIT, "", [*twice, *lift("r")], now=NOW)
    assert rejected_verdict(COMMIT, "", [*twice, *lift("r", "s")], now=NOW) is None


# --- approvals --------------------------------------------------------------------------------


def approve(by="Ada", *, at=0, **more):
    return decision(APPROVE, by=by, at=at, **{"plan": DIGEST, **more})


def approved(*decisions, now=NOW, authors=(), **rule) -> dict:
    return approvers(plan().digest, decisions, Approvals(**rule), authors=authors, now=now)[0]


def left_out(*decisions, now=NOW, authors=(), **rule) -> list[str]:
    return approvers(plan().digest, decisions, Approvals(**rule), authors=authors, now=now)[1]


def test_who_approved_exactly_this_plan_counts_until_the_approval_expires():
    assert approved(approve()) == {"Ada": NOW + timedelta(days=7)}


@pytest.mark.parametrize("other", ["", DIGEST[:-1], "sha256:" + "b" * 64, DIGEST.upper()])
def test_an_approval_of_another_plan_says_nothing_about_this_one(other):
    assert (approved(approve(plan=other)), left_out(approve(plan=other))) == ({}, [])


def test_only_approvals_approve():
    others = [decision(kind, plan=DIGEST) for kind in (HOLD, REJECT, LIFT)]
    assert approved(*others) == {}


@given(
    at=st.integers(-200, 0),
    own=st.none() | st.integers(-200, 200),
    rule=st.integers(1, 200),
)
def test_an_approval_expires_by_the_rule_or_by_its_own_word_whichever_is_first(at, own, rule):
    time = NOW + timedelta(minutes=at)
    expires = None if own is None else NOW + timedelta(minutes=own)
    ends = min(filter(None, (time + timedelta(minutes=rule), expires)))
    given_ = approve(time=time, expires=expires)
    assert approved(given_, expires=f"{rule}m") == ({"Ada": ends} if ends > NOW else {})
    if ends > time:
        assert approved(given_, now=ends - INSTANT, expires=f"{rule}m") == {"Ada": ends}
    assert approved(given_, now=ends, expires=f"{rule}m") == {}


def test_of_two_approvals_of_one_person_the_one_that_lasts_longer_counts():
    long, short = approve("ADA", expires=NOW + 2 * HOUR), approve("Ada", expires=NOW + HOUR)
    for both in ((long, short), (short, long)):
        assert list(approved(*both).values()) == [NOW + 2 * HOUR]


@pytest.mark.parametrize(
    "other", ["ada lovelace", " Ada  Lovelace ", "ADA LOVELACE", "Ada\tLovelace", "Ada Lovelace"]
)
def test_case_and_spaces_do_not_make_another_person(other):
    assert len(approved(approve("Ada Lovelace"), approve(other))) == 1


def test_an_accent_that_is_written_in_another_way_does_not_make_another_person():
    assert len(approved(approve("Ren\u00e9"), approve("Rene\u0301"))) == 1
    assert approved(approve("Ren\u00e9"), authors=["Rene\u0301"]) == {}


@given(names=st.lists(st.sampled_from(["Ada", "ada", "Ben", " ben ", "Cy"]), max_size=6))
def test_a_quorum_is_of_different_people(names):
    people = len({name.strip().lower() for name in names})
    for quorum in (1, 2, 3):
        rule = Approvals(quorum=quorum)
        found = approvals_verdict(plan(), list(map(approve, names)), rule, authors=(), now=NOW)
        assert (found.state is State.PASSED) == (people >= quorum)


@pytest.mark.parametrize("name", ["Grace", "grace@example.com", "GRACE ", "Grace@Example.com"])
def test_who_wrote_a_part_of_it_does_not_count_by_name_or_by_address(name):
    authors = {"Grace", "grace@example.com"}
    assert approved(approve(name), authors=authors) == {}
    assert left_out(approve(name), authors=authors) == [f"{name} wrote a part of it"]
    assert name in approved(approve(name), authors=authors, exclude_authors=False)


def test_where_signers_are_named_only_what_is_signed_counts():
    rule = {"allowed_signers": "signers"}
    assert approved(approve(), **rule) == {}
    assert left_out(approve(), **rule) == ["Ada's is not signed"]
    assert "Ada" in approved(approve(signed=True), **rule)


def test_an_approval_that_is_dated_ahead_of_every_clock_does_not_count_yet():
    soon = int(SKEW.total_seconds())
    assert "Ada" in approved(approve(at=soon))
    assert approved(approve(at=soon + 1)) == {}
    assert left_out(approve(at=3600)) == ["Ada's is dated 2026-11-22 07:00 UTC"]


def test_the_verdict_names_who_approves_who_does_not_count_and_how_to_approve():
    decisions = [approve("Ben"), approve("Grace"), approve("Cy", at=-7 * 86400)]
    rule = Approvals(quorum=2)
    found = approvals_verdict(plan(), decisions, rule, authors=["Grace"], now=NOW)
    assert found == Verdict(
        "approvals",
        State.PENDING,
        "1 of 2 for sha256:aaaaaaaaaaaa (Ben); Grace wrote a part of it;"
        " Cy's expired at 2026-11-22 06:00 UTC",
        who=f"whoever may approve: dataops approve prod --plan {DIGEST}",
    )
