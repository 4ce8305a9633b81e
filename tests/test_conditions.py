"""When and by whose word a proven commit lands: windows, freezes, approvals, holds, lint, predicates."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime, timedelta, timezone
from types import ModuleType

import pytest

from dataops_dagster import signatures
from dataops_dagster.errors import ConfigError
from dataops_dagster.gate.verdicts import nested
from dataops_dagster.model import Held, Outcome, Override, Promoted, Ready, State, Verdict
from tests.conftest import NOW, Shop
from tests.gates import (
    approve,
    decide,
    gated,
    held,
    landed,
    opens_at,
    planned,
    record,
    set_back,
    stage,
)

pytestmark = pytest.mark.slow

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SUNDAY = NOW
"""22 November 2026, 06:00 UTC."""


@pytest.fixture
def proven(running_shop: Shop) -> Shop:
    """Staging is one commit ahead of prod, and its run succeeded."""
    stage(running_shop, {"a": "1\n"})
    return running_shop


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


# --- windows and freezes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "asked", "opens"),
    [
        ("{cron: 0 9 * * 1-5, lasts: 8h}", "2026-11-22 06:00", "2026-11-23 09:00"),
        ("{cron: 0 9 * * 1-5, lasts: 8h}", "2026-11-23 17:00", "2026-11-24 09:00"),
        # In Zurich the clocks are set back on 31 October 2027, and forth on 28 March.
        (
            "{cron: 0 9 * * *, lasts: 1h, time_zone: Europe/Zurich}",
            "2027-10-30 08:00",
            "2027-10-31 08:00",
        ),
        (
            "{cron: 0 9 * * *, lasts: 1h, time_zone: Europe/Zurich}",
            "2027-03-27 09:00",
            "2027-03-28 07:00",
        ),
        (
            "{from: 2026-12-01, to: 2026-12-02, time_zone: Europe/Zurich}",
            "2026-11-22 06:00",
            "2026-11-30 23:00",
        ),
        (
            "{from: 2026-12-01T08:00+05:00, to: 2026-12-02}",
            "2026-11-22 06:00",
            "2026-12-01 03:00",
        ),
    ],
)
def test_a_window_opens_when_it_says(proven: Shop, window, asked, opens):
    shop = gated(proven, f"windows: [{window}]")
    verdict = held(shop, "window", now=utc(asked))
    assert (verdict.state, verdict.earliest) == (State.PENDING, utc(opens))
    assert opens_at(shop, utc(opens))


def test_a_window_closes_to_the_second(proven: Shop):
    shop = gated(proven, "windows: [{cron: 0 9 * * *, lasts: 8h}]")
    assert isinstance(shop.consider("prod", now=utc("2026-11-22 16:59:59")), Ready)
    held(shop, "window", now=utc("2026-11-22 17:00"))


def test_of_several_windows_the_next_counts(proven: Shop):
    shop = gated(
        proven,
        "windows: [{cron: 0 9 * * 1, lasts: 1h}, {from: 2026-11-22T20:00, to: 2026-11-22T21:00}]",
    )
    assert held(shop, "window").earliest == utc("2026-11-22 20:00")
    assert opens_at(shop, utc("2026-11-22 20:00"))
    assert held(shop, "window", now=utc("2026-11-22 21:00")).earliest == utc("2026-11-23 09:00")


def test_a_window_that_is_over_for_good_says_so(proven: Shop):
    shop = gated(proven, "windows: [{from: 2026-11-01, to: 2026-11-02}]")
    verdict = held(shop, "window")
    assert (verdict.state, verdict.earliest) == (State.FAILED, None)


EARLY = "{from: 2026-11-20, to: 2026-11-23T12:00}"
LATE = "{from: 2026-11-23T13:00, to: 2026-11-24}"


@pytest.mark.parametrize(
    ("freezes", "ends"),
    [
        ("{from: 2026-11-20, to: 2026-11-27, reason: the year ends}", "2026-11-27 00:00"),
        ("{cron: 0 0 * * 0, lasts: 1d}", "2026-11-23 00:00"),
        # One begins before another is over, or just when it is.
        (
            f"{EARLY}, {{cron: 0 12 * * 1, lasts: 2h}}, {LATE}",
            "2026-11-24 00:00",
        ),
    ],
)
def test_a_freeze_ends_when_it_says(proven: Shop, freezes, ends):
    shop = gated(proven, f"freezes: [{freezes}]")
    verdict = held(shop, "freeze")
    assert (verdict.state, verdict.earliest) == (State.PENDING, utc(ends))
    assert opens_at(shop, utc(ends))


def test_freezes_that_follow_each_other_without_end_are_told_as_such(proven: Shop):
    shop = gated(proven, "freezes: [{cron: 0 0 * * *, lasts: 1d, reason: closed down}]")
    verdict = held(shop, "freeze")
    assert (verdict.state, verdict.reason) == (State.FAILED, "never ends (closed down)")


def test_a_reasoned_override_passes_a_freeze_and_is_recorded(proven: Shop):
    shop = gated(
        proven,
        "freezes: [{from: 2026-11-20, to: 2026-11-27, reason: the year ends}]",
        "windows: [{cron: 0 9 * * 1-5, lasts: 8h}]",
    )
    landed(shop.promote("prod", override=Override("customers cannot pay")))
    release = record(shop)
    assert release.override == "customers cannot pay"
    overridden = [line for line in release.gate if "overridden" in line]
    assert [line.split(" ")[0] for line in overridden] == ["window", "freeze"]
    assert "(the year ends)" in overridden[1]
    assert release.gate[0].startswith("evidence passed: staging at")


# --- approvals --------------------------------------------------------------------------------


def test_enough_different_people_approve_exactly_this_plan(proven: Shop):
    shop = gated(proven, "approvals: {quorum: 2}")
    plan = planned(shop)
    assert f"dataops approve prod --plan {plan.digest}" in held(shop, "approvals").who
    approve(shop, plan, by="Ada")
    approve(shop, plan, by=" ada")
    assert held(shop, "approvals").reason.startswith("1 of 2")
    approve(shop, plan, by="Alan")
    landed(shop.promote("prod"))
    assert "2 of 2 for" in record(shop).gate[-1]


def test_an_approval_of_another_plan_or_target_counts_for_nothing(proven: Shop):
    shop = gated(proven, "approvals: {}")
    before = planned(shop)
    shop.book.decided.append(
        dataclasses.replace(approve(shop, before), target="staging", id="elsewhere")
    )
    shop.book.decided.pop(0)
    held(shop, "approvals")
    approve(shop, before)
    stage(shop, {"a": "2\n"})
    assert planned(shop).digest != before.digest
    held(shop, "approvals")


@pytest.mark.parametrize(
    ("rule", "approval", "until"),
    [
        ("{}", {}, NOW + 7 * DAY),
        ("{expires: 1d}", {}, NOW + DAY),
        ("{expires: 1d}", {"expires": NOW + HOUR}, NOW + HOUR),
        ("{expires: 1d}", {"expires": NOW + 9 * DAY}, NOW + DAY),
    ],
)
def test_an_approval_expires_to_the_second(proven: Shop, rule, approval, until):
    shop = gated(proven, f"approvals: {rule}")
    approve(shop, planned(shop), **approval)
    assert isinstance(shop.consider("prod", now=until - timedelta(seconds=1)), Ready)
    assert "Ada's expired at" in held(shop, "approvals", now=until).reason


def test_an_approval_that_is_dated_in_the_future_does_not_count_yet(proven: Shop):
    shop = gated(proven, "approvals: {}")
    approve(shop, planned(shop), at=NOW + HOUR)
    assert "Ada's is dated" in held(shop, "approvals").reason


@pytest.mark.parametrize(
    "author", ["Grace", "grace@example.com", "Grace <grace@example.com>", "Edsger", "e@example.com"]
)
def test_who_wrote_a_part_of_it_does_not_approve_it_unless_that_is_allowed(
    proven: Shop, author: str
):
    stage(proven, {"b": "1\n"}, "Help\n\nCo-authored-by: Edsger <e@example.com>")
    shop = gated(proven, "approvals: {}")
    approve(shop, planned(shop), by=author)
    assert "wrote a part of it" in held(shop, "approvals").reason
    shop = gated(proven, "approvals: {exclude_authors: false}")
    landed(shop.promote("prod"))


def test_who_wrote_only_what_the_target_has_already_may_approve(proven: Shop):
    stage(proven, {"b": "1\n"}, "Help\n\nCo-authored-by: Edsger <e@example.com>")
    landed(proven.promote("prod"))
    stage(proven, {"b": "2\n"})
    shop = gated(proven, "approvals: {}")
    approve(shop, planned(shop), by="Edsger")
    landed(shop.promote("prod"))


def test_an_approval_is_not_used_again_after_the_target_was_set_back(proven: Shop):
    shop = gated(proven, "approvals: {}")
    plan = planned(shop)
    approve(shop, plan)
    landed(shop.promote("prod"))
    set_back(shop.prod, plan.base)
    again = planned(shop)
    assert (again.base, again.commit) == (plan.base, plan.commit)
    assert again.digest != plan.digest
    held(shop, "approvals")


def test_where_signatures_are_asked_for_an_unsigned_approval_does_not_count(
    proven: Shop, monkeypatch
):
    (proven.root / "signers").write_text("")
    shop = gated(proven, f"approvals: {{allowed_signers: {proven.root / 'signers'}}}")
    unsigned = approve(shop, planned(shop))
    assert "Ada's is not signed" in held(shop, "approvals").reason
    signed = dataclasses.replace(unsigned, signed=True, commit=shop.staging.head)
    monkeypatch.setattr(signatures, "approvals", lambda *_, **__: [signed])
    landed(shop.promote("prod"))


def test_an_approval_passes_nothing_else(running_shop: Shop):
    running_shop.staging.commit({"a": "1\n"})
    shop = gated(running_shop, "approvals: {}")
    approve(shop, planned(shop, override=Override("to see it")))
    answer = shop.consider("prod")
    assert isinstance(answer, Held)
    assert answer.verdicts[0].condition == "evidence"


# --- holds ------------------------------------------------------------------------------------


def test_a_hold_names_its_owner_and_reason_until_it_is_lifted(proven: Shop):
    hold = decide(proven, "hold", by="Ada")
    verdict = held(proven, "hold")
    assert verdict.reason == "Ada holds it: said so (hold hold-1)"
    assert (verdict.who, verdict.earliest) == ("Ada: dataops lift prod hold-1", None)
    decide(proven, "lift", by="Alan", lifts=hold.id)
    landed(proven.promote("prod"))


def test_several_holds_are_over_when_the_last_is(proven: Shop):
    decide(proven, "hold", expires=NOW + HOUR)
    decide(proven, "hold", by="Alan", expires=NOW + 2 * HOUR)
    verdict = held(proven, "hold")
    assert "Ada holds it until 2026-11-22 07:00 UTC" in verdict.reason
    assert verdict.earliest == NOW + 2 * HOUR
    assert opens_at(proven, NOW + 2 * HOUR)
    decide(proven, "hold")
    assert held(proven, "hold").earliest is None


def test_a_hold_of_one_target_holds_no_other(proven: Shop):
    decide(proven, "hold")
    proven.dev.commit({"b": "1\n"})
    assert isinstance(proven.promote("staging"), Promoted)


def test_all_that_holds_a_promotion_up_is_told_at_once(proven: Shop):
    shop = gated(
        proven,
        "soak: 1h",
        "approvals: {}",
        "lint: {}",
        "freezes: [{from: 2026-11-20, to: 2026-11-27}]",
        "windows: [{cron: 0 9 * * 1-5, lasts: 8h}]",
    )
    decide(shop, "hold", expires=NOW + HOUR)
    soaking = shop.consider("prod")
    assert [v.condition for v in soaking.verdicts if v.state is State.PENDING] == [
        *("soak", "window", "freeze", "hold", "approvals")
    ]
    answer = shop.consider("prod", now=NOW + HOUR)
    waiting = [v.condition for v in answer.verdicts if v.state is not State.PASSED]
    assert waiting == ["window", "freeze", "approvals"]
    assert all(v.reason and v.who for _, v in nested(answer.verdicts))


# --- lint -------------------------------------------------------------------------------------

CONFLICT = "<<<<<<< HEAD\none\n=======\ntwo\n>>>>>>> other\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.sql": CONFLICT}, "a.sql:1 a merge conflict was committed (conflict-marker)"),
        ({"a.yml": "a: [1\n"}, "a.yml:1 is no YAML: did not find expected ','"),
        ({"a/b.yaml": b"a: \xff\n"}, "a/b.yaml:1 is not UTF-8 (yaml)"),
        ({"a.yml": "x: {a: 1, a: 2}\n"}, "a.yml:1 the key a stands here twice (duplicate-key)"),
    ],
    ids=["conflict marker", "no YAML", "no UTF-8", "duplicate key"],
)
def test_what_is_not_well_formed_does_not_land_until_its_rule_is_ignored(
    running_shop: Shop, files, found
):
    stage(running_shop, files)
    verdict = held(gated(running_shop, "lint: {}"), "lint")
    assert verdict.state is State.FAILED
    assert found in verdict.reason
    rule = verdict.reason.rpartition("(")[2].rstrip(")")
    landed(gated(running_shop, f"lint: {{ignore: [{rule}]}}").promote("prod"))


def test_lint_looks_only_at_files_that_the_promotion_changes(running_shop: Shop):
    stage(running_shop, {"a.sql": CONFLICT})
    landed(running_shop.promote("prod"))
    stage(running_shop, {"b.sql": "select 1\n", "custom.yml": "key: !secret name\n"})
    assert landed(gated(running_shop, "lint: {}").promote("prod"))


def test_a_file_that_is_removed_or_too_large_is_not_looked_into(running_shop: Shop):
    stage(running_shop, {"a.sql": CONFLICT, "b.sql": CONFLICT + "x" * 1024 * 1024})
    shop = gated(running_shop, "lint: {}")
    assert "b.sql" not in held(shop, "lint").reason
    stage(running_shop, {"a.sql": None})
    landed(shop.promote("prod"))


# --- a predicate of the user's own ------------------------------------------------------------


@pytest.fixture
def policy(monkeypatch):
    """Let a module `shop_policy` hold what is asked."""

    def answers(function) -> None:
        module = ModuleType("shop_policy")
        module.may_land = function
        monkeypatch.setitem(sys.modules, "shop_policy", module)

    return answers


ASKED = "predicate: shop_policy:may_land"


def test_a_predicate_is_asked_with_the_plan_its_evidence_and_the_moment(proven: Shop, policy):
    asked = []
    policy(lambda *facts: asked.append(facts))
    shop = gated(proven, ASKED)
    plan = landed(shop.promote("prod"))
    ((given, evidence, now),) = asked
    assert (given, now) == (plan, NOW)
    assert [(e.commit, e.outcome) for e in evidence] == [(plan.upstream_commit, Outcome.PASSED)]


WAIT = Verdict("noon", State.PENDING, "until noon", "the sun", NOW + 6 * HOUR)
OVER = Verdict("noon", State.PASSED, "it is noon", "the sun")


def test_a_predicate_says_when_it_can_pass(proven: Shop, policy):
    policy(lambda _plan, _evidence, now: WAIT if now < WAIT.earliest else OVER)
    shop = gated(proven, ASKED)
    verdict = held(shop, "noon")
    assert (verdict.reason, verdict.earliest) == ("until noon", WAIT.earliest)
    assert opens_at(shop, WAIT.earliest)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("not on\nSundays", State.PENDING),
        ("", State.PENDING),
        (True, State.FAILED),
        (False, State.FAILED),
        (0, State.FAILED),
        (dataclasses.replace(OVER, state="passed"), State.FAILED),
        (dataclasses.replace(OVER, state=None), State.FAILED),
        (dataclasses.replace(OVER, earliest=datetime(2026, 1, 1)), State.FAILED),  # noqa: DTZ001
        (Verdict, State.FAILED),
    ],
    ids=repr,
)
def test_a_predicate_that_does_not_say_yes_keeps_the_gate_closed(
    proven: Shop, policy, answer, state
):
    policy(lambda *_: answer)
    verdict = held(gated(proven, ASKED), "predicate")
    assert verdict.state is state
    assert "\n" not in verdict.reason


@pytest.mark.parametrize(
    "error", [ValueError("no\nway"), SystemExit(0), RecursionError()], ids=repr
)
def test_a_predicate_that_raises_keeps_the_gate_closed(proven: Shop, policy, error):
    def raises(*_):
        raise error

    policy(raises)
    verdict = held(gated(proven, ASKED), "predicate")
    assert verdict.state is State.FAILED
    assert type(error).__name__ in verdict.reason
    assert "\n" not in verdict.reason


def test_a_predicate_that_cannot_be_imported_is_a_mistake_of_the_configuration(proven: Shop):
    shop = gated(proven, "predicate: nowhere.to_be:found")
    with pytest.raises(ConfigError, match=r"workspaces\.prod\.gate\.predicate"):
        shop.consider("prod")
