"""A rollback brings back an earlier release, holds the target, and loses no line of the upstream."""

from __future__ import annotations

import dataclasses

import pytest

from dataops_dagster import backport, promotion
from dataops_dagster.model import (
    Conflicted,
    Equality,
    NothingToDo,
    Override,
    Raced,
    Rejected,
)
from dataops_dagster.store import Store
from tests.conftest import NOW, Shop
from tests.gates import (
    before,
    configured,
    consider_rollback,
    decide,
    forwardable,
    gated,
    held,
    landed,
    planned,
    record,
    recorded,
    release,
    roll_back,
    set_back,
    stage,
)
from tests.repositories import git

pytestmark = pytest.mark.slow

LINES = "".join(f"line {number}\n" for number in range(1, 10))


def edited(number: int, text: str) -> str:
    return LINES.replace(f"line {number}\n", f"{text}\n")


@pytest.fixture
def released(running_shop: Shop) -> Shop:
    """Prod got a release with a file of nine lines."""
    release(running_shop, {"report.sql": LINES}, "Nine lines")
    return running_shop


@pytest.fixture
def rolled_back(released: Shop) -> Shop:
    """Prod got a second release, which changed line 5 and added a file, and lost it again."""
    release(released, {"report.sql": edited(5, "wrong"), "new.sql": "select 1\n"}, "Wrong")
    roll_back(released)
    return released


def lift(shop: Shop) -> None:
    """Let promotions in again: what holds the target is the rollback's commit."""
    told = git(shop.prod.bare, "log", "--first-parent", "--format=%H", "--grep=^Roll prod", "main")
    decide(shop, "lift", lifts=told.split("\n")[0])


# --- what a rollback is -----------------------------------------------------------------------


def test_a_rollback_is_a_new_commit_with_the_earlier_releases_tree(released: Shop):
    shop = released
    first, undone = shop.prod.head, release(shop, {"report.sql": "wrong\n"})
    plan = consider_rollback(shop).plan
    assert (plan.base, plan.upstream_commit, plan.is_rollback) == (undone, first, True)
    assert (plan.equality, [c.path for c in plan.changes]) == (Equality.SAME_TREE, ["report.sql"])
    made = roll_back(shop)
    assert shop.prod.head == made.commit == plan.commit
    assert git(shop.prod.bare, "rev-parse", "main^@").split() == [undone]
    assert shop.prod.tree() == shop.prod.tree(first)
    assert record(shop).is_rollback
    assert made.gate == ("rollback passed: Ada: sales are wrong",)


def test_a_rollback_can_name_the_release_by_its_tag_or_commit(released: Shop):
    first = next(made for made in recorded(released) if made.commit == before(released))
    for name in (first.tag, first.tag.rpartition("/")[2], first.commit):
        assert consider_rollback(released, to=name).plan.upstream_commit == first.commit


def test_a_rollback_drops_what_the_target_got_by_itself_since(released: Shop):
    shop = released
    kept = shop.prod.head
    shop.prod.commit({"report.sql": "by hand\n"})
    assert roll_back(shop, to=kept).tree == shop.prod.tree(kept) == shop.prod.tree()


def test_a_rollback_without_an_earlier_release_is_refused(running_shop: Shop):
    answer = consider_rollback(running_shop)
    assert isinstance(answer, Rejected)
    assert "has no release before its last" in answer.reason
    assert isinstance(consider_rollback(running_shop, "dev"), Rejected)


def test_a_release_that_the_branch_does_not_have_is_refused(released: Shop):
    lost = released.prod.head
    set_back(released.prod, before(released))
    for name in (lost, "nothing", ""):
        answer = consider_rollback(released, to=name)
        assert isinstance(answer, Rejected)
        assert "has no release" in answer.reason


def test_a_rollback_to_what_is_there_does_nothing(released: Shop):
    assert isinstance(consider_rollback(released, to=released.prod.head), NothingToDo)


def test_a_push_that_comes_between_is_a_lost_race(released: Shop):
    shop = released
    ready = consider_rollback(shop)
    hotfix = shop.prod.commit({"hotfix.txt": "urgent\n"})
    answer = promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    assert (type(answer), shop.prod.head) == (Raced, hotfix)


def test_an_earlier_release_is_found_behind_a_pull_that_turned_the_parents_round(
    running_shop: Shop,
):
    shop = forwardable(running_shop)
    earlier = release(shop, {"a": "1\n"})
    # Someone committed in an old clone, and pulled: what was staging's is the second parent now.
    git(shop.staging.clone, "reset", "--quiet", "--hard", "main~1")
    (shop.staging.clone / "b").write_text("1\n")
    git(shop.staging.clone, "add", "b")
    git(shop.staging.clone, "commit", "--quiet", "-m", "Mine")
    git(shop.staging.clone, "pull", "--quiet", "--no-rebase", "--no-edit")
    git(shop.staging.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    shop.prove(shop.staging)
    landed(shop.promote("prod"))
    assert shop.prod.head == shop.staging.head
    assert consider_rollback(shop).plan.upstream_commit == earlier


# --- the target is held -----------------------------------------------------------------------


def test_a_rolled_back_target_is_held_until_its_very_rollback_is_lifted(rolled_back: Shop):
    shop = rolled_back
    verdict = held(shop, "hold")
    assert verdict.reason.startswith("Ada holds it: rolled back to ")
    assert "sales are wrong" in verdict.reason
    assert verdict.who == f"Ada: dataops lift prod {shop.prod.head[:12]}"
    decide(shop, "lift", lifts=shop.prod.head[:12])
    decide(shop, "lift", lifts=shop.staging.head)
    held(shop, "hold")
    lift(shop)
    landed(shop.promote("prod"))


def test_git_alone_tells_of_the_hold(rolled_back: Shop):
    elsewhere = dataclasses.replace(
        rolled_back, store=Store(rolled_back.root / "other-cache", "shop")
    )
    held(elsewhere, "hold")
    elsewhere.prod.commit({"notes.txt": "of prod\n"})
    held(gated(elsewhere, "tested_tree: any"), "hold")


def test_a_target_without_a_gate_is_held_and_lifted_too(rolled_back: Shop):
    text = (rolled_back.root / "dataops.yaml").read_text()
    shop = configured(rolled_back, text.replace("    gate: {environment: staging}\n", ""))
    held(shop, "hold")
    lift(shop)
    landed(shop.promote("prod"))


def test_an_override_passes_the_hold_and_is_recorded(rolled_back: Shop):
    landed(rolled_back.promote("prod", override=Override("the sales were right")))
    told = "hold passed: overridden (the sales were right)"
    assert [line for line in record(rolled_back).gate if line.startswith(told)]


def test_the_hold_of_one_rollback_is_not_lifted_by_the_lift_of_another(rolled_back: Shop):
    shop = rolled_back
    lift(shop)
    landed(shop.promote("prod"))
    roll_back(shop)
    held(shop, "hold")


def test_a_rollback_of_the_upstream_that_is_promoted_is_none_of_the_target(running_shop: Shop):
    shop = forwardable(running_shop)
    shop.dev.commit({"a": "1\n"})
    landed(shop.promote("staging"))
    shop.prove(shop.staging)
    landed(shop.promote("prod"))
    ready = consider_rollback(shop, "staging")
    promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    shop.prove(shop.staging)
    landed(shop.promote("prod"))
    assert shop.prod.head == shop.staging.head
    stage(shop, {"b": "1\n"})
    landed(shop.promote("prod"))


# --- a rollback that is none ------------------------------------------------------------------


def forged(shop: Shop, to: str, files=None) -> str:
    return shop.prod.commit(
        files or {},
        f"Roll prod back to {to[:12]}\n\nProject: shop\nTarget: prod\n"
        f"Rollback-To: {to}\nBy: Ada\nReason: sales are wrong\n",
    )


def test_a_persons_commit_with_a_rollbacks_message_changes_nothing(released: Shop):
    shop = gated(released, "tested_tree: any")
    forged(shop, shop.prod.head)  # of the very tree, but no release
    stage(shop, {"report.sql": edited(1, "one")})
    plan = landed(shop.promote("prod"))
    assert shop.prod.show("report.sql") + "\n" == edited(1, "one")
    assert plan.hotfixes[0].subject.startswith("Roll prod back")


def test_a_release_whose_message_names_another_tree_is_no_rollback(released: Shop):
    shop = gated(released, "tested_tree: any")
    commit = forged(shop, before(shop), {"c": "3\n"})
    tag = f"dataops/shop/prod/20261122T060000Z-{commit[:12]}"
    git(shop.prod.bare, "tag", "-a", "-m", "Roll prod back", tag, commit)
    stage(shop, {"a": "1\n"})
    landed(shop.promote("prod"))
    assert shop.prod.files() == sorted(
        ["README.md", "a", "c", "deploy.sh", "pipeline.yml", "report.sql", "run.sh"]
    )


# --- and then promoted to again ---------------------------------------------------------------


def tree_from(shop: Shop, commit: str) -> str:
    """Return what a promotion would make of prod, had it never had more than this commit."""
    head = shop.prod.head
    set_back(shop.prod, commit)
    tree = planned(shop, override=Override("only to see")).tree
    set_back(shop.prod, head)
    return tree


@pytest.fixture(params=["theirs", "exact", "fail_on_conflict"])
def policy(request) -> str:
    return f"merge: {{policy: {request.param}}}"


def test_what_was_undone_can_be_promoted_again_under_each_policy(rolled_back: Shop, policy: str):
    shop = gated(rolled_back, prod=policy)
    lift(shop)
    assert landed(shop.promote("prod")).upstream_commit == shop.staging.head
    assert shop.prod.tree() == shop.staging.tree()
    assert isinstance(shop.promote("prod"), NothingToDo)


def test_what_comes_later_brings_what_was_undone_with_it(rolled_back: Shop, policy: str):
    shop = gated(rolled_back, prod=policy)
    stage(shop, {"report.sql": edited(5, "right"), "later.sql": "select 2\n"})
    lift(shop)
    expected = tree_from(shop, before(shop, 2))
    plan = landed(shop.promote("prod"))
    assert shop.prod.tree() == expected == shop.staging.tree()
    assert [c.subject for c in plan.commits] == ["Change", "Wrong"]
    assert shop.prod.show("new.sql") == "select 1"


def test_an_upstream_that_took_the_wrong_commit_back_leaves_nothing_of_it(rolled_back: Shop):
    shop = rolled_back
    stage(shop, {"report.sql": LINES, "new.sql": None, "fixed.sql": "select 3\n"})
    lift(shop)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()


def test_an_upstream_that_dropped_the_wrong_commit_from_its_history_is_not_rewritten(
    rolled_back: Shop,
):
    shop = rolled_back
    set_back(shop.staging, f"{shop.staging.head}~1")
    stage(shop, {"report.sql": edited(1, "one")})
    lift(shop)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()


def test_what_the_target_got_by_itself_on_top_of_the_rollback_stays(rolled_back: Shop):
    shop = gated(rolled_back, "tested_tree: any", prod="merge: {policy: fail_on_conflict}")
    shop.prod.commit({"report.sql": edited(1, "of prod"), "prod.sql": "select 4\n"})
    lift(shop)
    plan = landed(shop.promote("prod"))
    assert [c.subject for c in plan.hotfixes] == ["Change"]
    assert shop.prod.show("report.sql").split("\n")[:5] == [
        *("of prod", "line 2", "line 3", "line 4", "wrong")
    ]
    assert {"prod.sql", "new.sql"} < set(shop.prod.files())


def test_a_conflict_with_work_on_top_of_the_rollback_is_one(rolled_back: Shop):
    shop = rolled_back
    shop.prod.commit({"report.sql": edited(5, "of prod")})
    lift(shop)
    assert isinstance(
        gated(shop, prod="merge: {policy: fail_on_conflict}").promote("prod"), Conflicted
    )
    verdict = held(gated(shop, "tested_tree: any"), "hotfix")
    assert "would overwrite prod's own" in verdict.reason
    landed(shop.promote("prod", allow={promotion.Allowance.THEIRS}))
    assert shop.prod.tree() == shop.staging.tree()


@pytest.mark.parametrize("policy", ["theirs", "exact"])
def test_what_the_target_owns_stays_its_own_through_a_rollback_and_after(
    running_shop: Shop, policy
):
    keep = f"keep: [store, pipeline.yml#target]\n    merge: {{policy: {policy}}}"
    shop = gated(running_shop, prod=keep)
    shop.prod.commit({"store": "of prod\n", "pipeline.yml": "source: users\ntarget: lake\n"})
    release(shop, {"report.sql": LINES, "store": "of staging\n"})
    release(shop, {"report.sql": "wrong\n", "pipeline.yml": "source: wrong\ntarget: warehouse\n"})
    roll_back(shop)
    assert shop.prod.show("pipeline.yml") == "source: users\ntarget: lake"
    stage(shop, {"b": "1\n", "pipeline.yml": "source: orders\ntarget: warehouse\n"})
    lift(shop)
    assert landed(shop.promote("prod")).equality is Equality.EXPLAINED
    assert shop.prod.show("pipeline.yml") == "source: orders\ntarget: lake"
    assert [shop.prod.show(name) for name in ("store", "report.sql", "b")] == [
        *("of prod", "wrong", "1")
    ]


def test_releases_that_came_by_fast_forward_are_undone_and_come_again(running_shop: Shop):
    shop = forwardable(running_shop)
    first = release(shop, {"a": "1\n"})
    assert release(shop, {"a": "2\n", "b": "2\n"}) == shop.staging.head
    roll_back(shop)
    assert shop.prod.tree() == shop.prod.tree(first)
    stage(shop, {"c": "3\n"})
    lift(shop)
    plan = landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()
    assert plan.equality is Equality.SAME_TREE
    assert git(shop.prod.bare, "rev-parse", "main^2") == shop.staging.head


# --- more than one rollback -------------------------------------------------------------------


def test_a_second_rollback_goes_back_only_when_the_release_is_named(rolled_back: Shop):
    shop = rolled_back
    first = before(shop, 3)
    answer = consider_rollback(shop)
    assert isinstance(answer, Rejected)
    assert "is rolled back already" in answer.reason
    assert roll_back(shop, to=first).tree == shop.prod.tree(first) == shop.prod.tree()
    held(shop, "hold")
    lift(shop)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()


def test_a_rollback_of_a_rollback_is_what_was_undone(rolled_back: Shop):
    shop = rolled_back
    undone = before(shop)
    roll_back(shop, to=undone)
    assert shop.prod.tree() == shop.prod.tree(undone) == shop.staging.tree()
    # It has all that staging has again, so that nothing is left to do.
    assert isinstance(shop.promote("prod"), NothingToDo)
    stage(shop, {"report.sql": edited(5, "right")})
    held(shop, "hold")
    lift(shop)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()


def test_a_rollback_after_a_promotion_that_followed_a_rollback_goes_back_over_both(
    rolled_back: Shop,
):
    shop = rolled_back
    at_first = shop.prod.tree()
    lift(shop)
    landed(shop.promote("prod"))
    roll_back(shop)
    assert shop.prod.tree() == at_first
    stage(shop, {"later.sql": "select 2\n"})
    lift(shop)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()


def test_a_release_that_followed_a_rollback_can_be_brought_back(rolled_back: Shop):
    shop = rolled_back
    stage(shop, {"report.sql": edited(5, "right")})
    lift(shop)
    landed(shop.promote("prod"))
    good = shop.prod.head
    release(shop, {"report.sql": "wrong again\n", "worse.sql": "?\n"})
    roll_back(shop)
    assert shop.prod.tree() == shop.prod.tree(good)
    stage(shop, {"z": "1\n"})
    lift(shop)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()


def test_nothing_to_do_names_the_head_that_a_rolled_back_target_has(rolled_back: Shop):
    shop = rolled_back
    undone = before(shop)
    roll_back(shop, to=undone)
    answer = shop.promote("prod")
    assert isinstance(answer, NothingToDo)
    assert answer.head == shop.prod.head


def test_what_was_rolled_back_is_not_backported(rolled_back: Shop):
    shop = rolled_back
    refused = backport.refused(shop.project, shop.project.workspaces["prod"], store=shop.store)
    assert isinstance(refused, Rejected)
    assert "is rolled back to" in refused.reason
    lift(shop)
    landed(shop.promote("prod"))
    assert backport.refused(shop.project, shop.project.workspaces["prod"], store=shop.store) is None
