"""What lands is what was tested, well formed, and undoes nobody's work, or the gate says what is not."""

from __future__ import annotations

import pytest

from dataops_dagster.gate import landing
from dataops_dagster.gate.landing import hotfix_verdict, lint_verdict, needs_retest, overridden
from dataops_dagster.gate.lint import Finding
from dataops_dagster.model import Equality, Kept, Overwrite, State
from dataops_dagster.settings_gate import TreeRule
from tests.facts import DIGEST, commit, plan, verdict

TESTED = {Equality.SAME_COMMIT, Equality.SAME_TREE, Equality.SAME_SCOPE}
TAKES = {
    TreeRule.SAME: TESTED,
    TreeRule.EXPLAINED: TESTED | {Equality.EXPLAINED},
    TreeRule.RETEST: TESTED,
    TreeRule.ANY: set(Equality),
}
KEEPS = (Kept("kept.yml", explained=True), Kept("odd.yml", explained=False))


# --- the tested tree --------------------------------------------------------------------------


@pytest.mark.parametrize("rule", TreeRule)
@pytest.mark.parametrize("equality", Equality)
@pytest.mark.parametrize("retest", State)
def test_each_rule_takes_the_equalities_that_it_names_and_a_retest_speaks_for_the_rest(
    rule, equality, retest
):
    planned = plan(equality, keeps=KEEPS)
    asked = needs_retest(planned, rule)
    assert asked == (rule is TreeRule.RETEST and equality not in TESTED)
    found = landing.tested_verdict(planned, rule, [verdict(retest)] if asked else [])
    if asked:
        assert found.state is retest
    else:
        assert (found.state is State.PASSED) == (equality in TAKES[rule])
    assert equality.value in found.reason


def test_under_the_strictest_rule_all_that_differs_is_told():
    found = landing.tested_verdict(plan(Equality.EXPLAINED, keeps=KEEPS), TreeRule.SAME, [])
    assert "in kept.yml, odd.yml; own that by keep" in found.reason


def test_what_the_target_keeps_is_not_told_where_that_may_differ():
    found = landing.tested_verdict(plan(Equality.UNEXPLAINED, keeps=KEEPS), TreeRule.EXPLAINED, [])
    assert "in odd.yml; own that by keep" in found.reason
    assert "dataops backport prod" in found.reason
    assert found.who == "whoever may change prod.gate.tested_tree or prod.keep"


def test_of_many_paths_that_differ_the_first_are_told_and_the_rest_counted():
    keeps = tuple(Kept(f"{number}.yml", explained=False) for number in range(7))
    found = landing.tested_verdict(plan(Equality.UNEXPLAINED, keeps=keeps), TreeRule.EXPLAINED, [])
    assert "in 0.yml, 1.yml, 2.yml, 3.yml, 4.yml, and 2 more; own" in found.reason


def test_a_retest_is_told_with_what_would_land_and_who_can_run_it():
    retest = verdict(State.PENDING, "waits for a run", who="Ada")
    found = landing.tested_verdict(plan(Equality.UNEXPLAINED), TreeRule.RETEST, [retest])
    told = "what lands (eeeeeeeeeeee) differs from what was run (unexplained): waits for a run"
    assert (found.reason, found.who) == (told, "Ada")


# --- hotfixes ---------------------------------------------------------------------------------

MENDED = (commit("1", "Mend the price"), commit("2", "Mend the tax", "Ada"))


def hotfix(*overwritten: str, changed=("price.sql",), allowed=False, approved_by=()):
    overwrites = tuple(map(Overwrite, overwritten))
    made = plan(hotfixes=MENDED, overwrites=overwrites)
    return hotfix_verdict(made, changed, allowed=allowed, approved_by=approved_by)


def test_a_target_that_got_nothing_by_itself_loses_nothing():
    made = plan(overwrites=(Overwrite("price.sql"),))
    assert hotfix_verdict(made, ["price.sql"], allowed=False, approved_by=()) is None


def test_work_that_stays_is_named_and_lets_pass():
    for overwritten in ((), ("other.sql",)):
        found = hotfix(*overwritten)
        assert found.state is State.PASSED
        assert found.reason == (
            "prod's own 111111111111 Mend the price (Grace); 222222222222 Mend the tax (Ada) stays"
        )


def test_work_that_would_be_lost_closes_the_gate_and_names_the_ways_out():
    found = hotfix("tax.sql", "price.sql", changed=("price.sql", "tax.sql"))
    assert found.state is State.FAILED
    assert found.reason.startswith("would overwrite prod's own 111111111111 Mend the price")
    assert found.reason.endswith("in price.sql, tax.sql")
    for way in (DIGEST, "--allow theirs", "dataops backport prod"):
        assert way in found.who


def test_a_person_may_allow_it_or_approve_the_very_plan():
    allowed = hotfix("price.sql", allowed=True)
    approved = hotfix("price.sql", approved_by=["Cy", "Ben"])
    assert (allowed.state, approved.state) == (State.PASSED, State.PASSED)
    assert allowed.reason.startswith("theirs was allowed over prod's own")
    assert approved.reason.startswith("Ben, Cy approved to overwrite prod's own")


# --- lint and overrides -----------------------------------------------------------------------


def test_what_is_well_formed_passes():
    assert lint_verdict([], "prod").state is State.PASSED


def test_of_many_findings_the_first_are_told_with_their_places_and_rules():
    findings = [Finding("yaml", "a.yml", line, "is no YAML") for line in range(1, 8)]
    found = lint_verdict(findings, "prod")
    assert found.state is State.FAILED
    assert found.reason.startswith("a.yml:1 is no YAML (yaml); a.yml:2 is no YAML (yaml); ")
    assert found.reason.endswith("a.yml:5 is no YAML (yaml); and 2 more")
    assert found.who == "whoever can mend it, or ignore the rule in prod.gate.lint"


@pytest.mark.parametrize("state", [State.PENDING, State.FAILED])
def test_an_override_passes_and_keeps_what_it_passed_over(state):
    part = verdict(state)
    passed = overridden(verdict(state, "waits", parts=(part,)), "the auditors asked")
    assert passed.state is State.PASSED
    assert passed.reason == "overridden (the auditors asked): waits"
    assert passed.parts == (part,)


def test_an_override_leaves_alone_what_passed_by_itself():
    passed = verdict(State.PASSED, "all is well")
    assert overridden(passed, "the auditors asked") is passed
