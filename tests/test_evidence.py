"""Which commit of the upstream lands: the newest that enough runs proved, and for how long."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest

from dataops_dagster.gate.evidence import what_ran
from dataops_dagster.model import Equality, NothingToDo, Outcome, Override, Ready, State
from tests.conftest import NOW, RUN, Shop
from tests.gates import (
    configured,
    decide,
    gated,
    held,
    landed,
    opens_at,
    planned,
    prove_plan,
    record,
    recorded,
    set_back,
    stage,
)

pytestmark = pytest.mark.slow

PASSED, FAILED, ERRORED = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED
HOUR = timedelta(hours=1)


@pytest.fixture
def changed(running_shop: Shop) -> Shop:
    """Staging is one commit ahead of prod, which no run proved."""
    running_shop.staging.commit({"a": "1\n"})
    return running_shop


# --- how many runs, of what, and how old ------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([PASSED, PASSED], State.PENDING),
        ([PASSED, PASSED, PASSED], State.PASSED),
        ([PASSED, ERRORED, PASSED, ERRORED, PASSED, ERRORED], State.PASSED),
        ([PASSED, PASSED, FAILED, PASSED], State.PENDING),
        ([PASSED, PASSED, FAILED, PASSED, PASSED, PASSED], State.PASSED),
        ([PASSED, PASSED, PASSED, FAILED], State.FAILED),
        ([PASSED, PASSED, FAILED, ERRORED], State.FAILED),
        ([ERRORED, ERRORED, ERRORED], State.PENDING),
    ],
    ids=lambda value: ", ".join(o.value for o in value) if isinstance(value, list) else value.value,
)
def test_three_runs_must_have_succeeded_since_the_last_failure(changed: Shop, outcomes, state):
    shop = gated(changed, "runs: 3")
    for number, outcome in enumerate(outcomes):
        shop.prove(shop.staging, outcome, after=number - 60)
    answer = shop.consider("prod")
    assert (answer.verdicts[0].condition, answer.verdicts[0].state) == ("evidence", state)
    assert isinstance(answer, Ready) == (state is State.PASSED)


def test_a_release_names_each_of_the_runs_that_proved_it(changed: Shop):
    shop = gated(changed, "runs: 3")
    for number in range(4):
        shop.prove(shop.staging, after=number - 60)
    recorded = shop.promote("prod").release.evidence
    assert [line.rpartition(" ")[2] for line in recorded] == ["run-3", "run-4", "run-5"]


def test_what_is_proven_expires_at_its_age_and_not_a_second_before(changed: Shop):
    shop = gated(changed, "max_age: 1h")
    shop.prove(shop.staging)
    assert isinstance(shop.consider("prod", now=NOW + HOUR), Ready)
    verdict = held(shop, "evidence", now=NOW + HOUR + timedelta(seconds=1))
    assert "is older than 1h, the last of 2026-11-22 06:00 UTC" in verdict.reason
    shop.prove(shop.staging, after=3601)
    landed(shop.promote("prod", now=NOW + HOUR + timedelta(seconds=1)))


def test_each_of_several_runs_must_be_young_enough(changed: Shop):
    shop = gated(changed, "runs: 2", "max_age: 1h")
    shop.prove(shop.staging)
    shop.prove(shop.staging, after=1800)
    assert isinstance(shop.consider("prod", now=NOW + HOUR), Ready)
    held(shop, "evidence", now=NOW + HOUR + timedelta(seconds=1))


@pytest.mark.parametrize(
    "other",
    [
        {"environment": "dev"},
        {"workspace": "dev"},
        {"tree": "d" * 40},
        {"commit": "c" * 40},
        {"digest": ""},
        {"digest": what_ran(RUN, tree="d" * 40, environment="staging")},
        {"outcome": ERRORED},
        {"time": NOW + HOUR},
    ],
    ids=lambda other: next(iter(other)),
)
def test_evidence_of_anything_else_is_none(changed: Shop, other):
    changed.prove(changed.staging)
    evidence = changed.book.evidence
    evidence[-1] = dataclasses.replace(evidence[-1], **other)
    assert "no run is recorded" in held(changed, "evidence").reason


def test_evidence_of_another_definition_of_the_run_is_none(changed: Shop):
    changed.prove(changed.staging)
    text = (changed.root / "dataops.yaml").read_text()
    shop = configured(changed, text.replace("[sh, run.sh]", "[sh, run.sh, --full]"))
    held(shop, "evidence")
    # How long it may take, and when, changes nothing of what a run is.
    shop = configured(changed, text.replace("deadline: 1m", "when: manual, deadline: 2m"))
    assert isinstance(shop.consider("prod"), Ready)


AT = {"host": "https://api.example.com", "workspace": "acme", "workspace_id": "1", "path": "tb"}


def at_tinybird(shop: Shop, **other: str) -> Shop:
    """Return the shop whose staging is tested at Tinybird."""
    at = json.dumps({**AT, "token_variable": "TB", **other})
    text = (shop.root / "dataops.yaml").read_text()
    command = "run: {platform: command, command: [sh, run.sh], deadline: 1m}"
    assert command in text
    return configured(
        shop, text.replace(command, f"run: {{platform: tinybird}}\n    tinybird: {at}")
    )


@pytest.mark.parametrize(
    "other",
    [
        {"host": "https://api.example.org"},
        {"workspace": "acme_2"},
        {"workspace_id": "2"},
        {"path": "tb_2"},
        {"dialect": "classic"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_evidence_of_another_workspace_at_tinybird_is_none(changed: Shop, other):
    text = (changed.root / "dataops.yaml").read_text()
    shop = at_tinybird(changed)
    staging = shop.project.workspaces["staging"]
    tree = shop.staging.tree()
    digest = what_ran(staging.run, tree=tree, environment="staging", at=staging.run_at)
    shop.prove(shop.staging)
    shop.book.evidence[-1] = dataclasses.replace(shop.book.evidence[-1], digest=digest)
    assert isinstance(shop.consider("prod"), Ready)
    configured(changed, text)
    held(at_tinybird(changed, **other), "evidence")


def test_a_gate_that_asks_for_no_run_takes_the_tip(changed: Shop):
    text = (changed.root / "dataops.yaml").read_text()
    shop = configured(changed, text.replace("{environment: staging}", "{runs: 0}"))
    assert landed(shop.promote("prod")).upstream_commit == shop.staging.head


# --- which of several commits -----------------------------------------------------------------


def test_the_newest_proven_commit_lands_and_what_it_overtakes_is_read_back(running_shop: Shop):
    shop = running_shop
    skipped = [stage(shop, {"a": f"{number}\n"}) for number in range(2)]
    newest = stage(shop, {"a": "2\n"})
    shop.staging.commit({"a": "not run yet\n"})
    assert landed(shop.promote("prod")).upstream_commit == newest
    assert record(shop).skipped == tuple(reversed(skipped))


def test_the_first_promotion_overtakes_nothing_that_came_before_it(shop: Shop):
    for number in range(3):
        shop.dev.commit({"a": f"{number}\n"})
    assert landed(shop.promote("staging")).skipped == ()
    overtaken = shop.dev.commit({"a": "3\n"})
    shop.dev.commit({"a": "4\n"})
    assert landed(shop.promote("staging")).skipped == (overtaken,)


def test_every_proven_commit_lands_in_its_turn(running_shop: Shop):
    shop = gated(running_shop, prod="supersede: every")
    one = stage(shop, {"a": "1\n"})
    two = shop.staging.commit({"a": "fails\n"})
    shop.prove(shop.staging, FAILED)
    three = stage(shop, {"a": "3\n"})
    commits = [landed(shop.promote("prod")).upstream_commit for _ in range(2)]
    assert commits == [one, three]
    assert isinstance(shop.promote("prod"), NothingToDo)
    skipped = {release.upstream_commit: release.skipped for release in recorded(shop)}
    assert (skipped[one], skipped[three]) == ((), (two,))


@pytest.mark.parametrize("how", ["named", "overridden"])
def test_a_person_who_names_a_commit_or_overrides_skips_what_is_recorded_too(
    running_shop: Shop, how
):
    shop = running_shop
    skipped = shop.staging.commit({"a": "1\n"})
    tip = shop.staging.commit({"a": "2\n"})
    if how == "named":
        shop.prove(shop.staging)
        landed(shop.promote("prod", commit=tip))
    else:
        landed(shop.promote("prod", override=Override("the auditors asked for it")))
    assert record(shop).skipped == (skipped,)


def test_a_gate_says_when_the_first_of_several_commits_can_land(running_shop: Shop):
    shop = gated(running_shop, "soak: 1h")
    first = stage(shop, {"a": "1\n"})
    stage(shop, {"a": "2\n"}, after=60)
    verdict = held(shop, "soak")
    assert verdict.earliest == NOW + HOUR
    assert opens_at(shop, NOW + HOUR)
    assert planned(shop, now=NOW + HOUR).upstream_commit == first


# --- soak -------------------------------------------------------------------------------------


def test_a_commit_soaks_from_its_first_success_on(changed: Shop):
    shop = gated(changed, "soak: 1h")
    shop.prove(shop.staging)
    shop.prove(shop.staging, after=1800)
    verdict = held(shop, "soak", now=NOW + HOUR / 2)
    assert (verdict.state, verdict.earliest) == (State.PENDING, NOW + HOUR)
    assert opens_at(shop, NOW + HOUR)


def test_a_failure_begins_the_soak_anew_and_an_error_does_not(changed: Shop):
    shop = gated(changed, "soak: 1h")
    shop.prove(shop.staging)
    shop.prove(shop.staging, ERRORED, after=60)
    assert opens_at(shop, NOW + HOUR)
    shop.prove(shop.staging, FAILED, after=1200)
    shop.prove(shop.staging, after=1800)
    assert held(shop, "soak", now=NOW + HOUR).earliest == NOW + HOUR * 1.5
    assert opens_at(shop, NOW + HOUR * 1.5)


# --- the very tree that was tested ------------------------------------------------------------


@pytest.fixture
def differing(running_shop: Shop) -> Shop:
    """What lands will differ from what staging proved: prod has a file of its own."""
    running_shop.prod.commit({"prod.txt": "of prod\n"})
    stage(running_shop, {"a": "1\n"})
    return running_shop


@pytest.mark.parametrize("rule", ["same", "explained", "retest", "any"])
@pytest.mark.parametrize("owned", [True, False])
def test_what_may_differ_from_what_was_tested(differing: Shop, rule, owned):
    shop = gated(differing, f"tested_tree: {rule}", prod="keep: [prod.txt]" if owned else "")
    lands = rule == "any" or (rule == "explained" and owned)
    answer = shop.consider("prod")
    assert answer.plan.equality is (Equality.EXPLAINED if owned else Equality.UNEXPLAINED)
    assert isinstance(answer, Ready) == lands
    if not lands:
        verdict = held(shop, "tested tree")
        assert verdict.state is (State.PENDING if rule == "retest" else State.FAILED)


def test_what_lands_unchanged_needs_no_second_test_whatever_the_rule(running_shop: Shop):
    stage(running_shop, {"a": "1\n"})
    for rule in ("same", "explained", "retest", "any"):
        assert isinstance(gated(running_shop, f"tested_tree: {rule}").consider("prod"), Ready)


def test_a_difference_is_named_with_ways_out(differing: Shop):
    reason = held(differing, "tested tree").reason
    assert "(unexplained) in prod.txt" in reason
    assert "dataops backport prod" in reason


def test_a_merge_that_was_run_itself_lands_as_it_was_run(differing: Shop):
    shop = gated(differing, "tested_tree: retest")
    plan = planned(shop)
    assert "no run is recorded" in held(shop, "tested tree").reason
    prove_plan(shop, plan, FAILED)
    assert held(shop, "tested tree").state is State.FAILED
    prove_plan(shop, plan)
    # Both at one moment: the failure counts.
    assert held(shop, "tested tree").state is State.FAILED
    shop.book.evidence.pop(-2)
    assert landed(shop.promote("prod")).commit == plan.commit == shop.prod.head


def test_a_merge_is_run_anew_when_the_target_moved(differing: Shop):
    shop = gated(differing, "tested_tree: retest")
    prove_plan(shop, planned(shop))
    shop.prod.commit({"prod.txt": "of prod, again\n"})
    held(shop, "tested tree")
    prove_plan(shop, planned(shop))
    landed(shop.promote("prod"))


def test_a_run_of_the_merge_proves_nothing_once_it_is_too_old(differing: Shop):
    shop = gated(differing, "tested_tree: retest", "max_age: 1h")
    prove_plan(shop, planned(shop))
    shop.prove(shop.staging, after=1800)
    assert isinstance(shop.consider("prod", now=NOW + HOUR), Ready)
    held(shop, "tested tree", now=NOW + HOUR + timedelta(seconds=1))


def test_of_a_scope_only_what_is_in_it_must_be_what_was_tested(differing: Shop):
    shop = gated(differing, "tested_tree: same", prod="scope: [pipeline.yml]")
    assert landed(shop.promote("prod")).equality is Equality.SAME_SCOPE


# --- what was rejected ------------------------------------------------------------------------


def reject(shop: Shop, commit: str):
    return decide(shop, "reject", commit=commit, tree=shop.staging.tree(commit))


def test_a_rejected_commit_does_not_land_and_an_older_or_newer_one_does(running_shop: Shop):
    shop = running_shop
    older = stage(shop, {"a": "1\n"})
    bad = stage(shop, {"a": "2\n"})
    reject(shop, bad)
    assert planned(shop).upstream_commit == older
    verdict = held(shop, "rejected", commit=bad)
    assert "Ada rejected the commit" in verdict.reason
    assert "dataops lift prod reject-1" in verdict.who
    newer = stage(shop, {"a": "3\n"})
    assert landed(shop.promote("prod")).upstream_commit == newer


def test_a_rejected_tree_stays_rejected_under_any_commit(running_shop: Shop):
    shop = running_shop
    rejection = reject(shop, stage(shop, {"a": "1\n"}))
    again = stage(shop, {}, "The same files again")
    assert "its very tree" in held(shop, "rejected", commit=again).reason
    decide(shop, "lift", lifts=rejection.id)
    assert landed(shop.promote("prod")).upstream_commit == again


def test_a_rejected_tree_stays_rejected_when_only_the_merge_makes_it(running_shop: Shop):
    shop = gated(running_shop, "tested_tree: any")
    bad = stage(shop, {"a": "1\n", "b": "1\n"})
    reject(shop, bad)
    set_back(shop.staging, f"{bad}~1")
    shop.prod.commit({"a": "1\n"})
    stage(shop, {"b": "1\n"})
    assert "its very tree" in held(shop, "rejected").reason
