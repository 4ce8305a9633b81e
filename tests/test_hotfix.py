"""What a target got by itself is named, not overwritten unasked, and can be brought back upstream."""

from __future__ import annotations

import pytest

from dataops_dagster import backport, promotion
from dataops_dagster.model import (
    Allowance,
    Conflicted,
    Equality,
    NothingToDo,
    Ready,
    Rejected,
    State,
)
from tests.conftest import NOW, Shop
from tests.gates import (
    approve,
    forwardable,
    gated,
    held,
    landed,
    planned,
    record,
    release,
    stage,
)
from tests.repositories import git

pytestmark = pytest.mark.slow

LINES = "".join(f"line {number}\n" for number in range(1, 10))


def edited(number: int, text: str) -> str:
    return LINES.replace(f"line {number}\n", f"{text}\n")


@pytest.fixture
def released(running_shop: Shop) -> Shop:
    """Prod got a release with a file of nine lines; its gate asks what is tested for nothing."""
    release(running_shop, {"report.sql": LINES}, "Nine lines")
    return gated(running_shop, "tested_tree: any")


@pytest.fixture
def hotfixed(released: Shop) -> Shop:
    """Somebody mended line 5 in prod, and staging changed it otherwise."""
    released.prod.commit({"report.sql": edited(5, "mended")}, "Mend line 5")
    stage(released, {"report.sql": edited(5, "of staging")})
    return released


def hotfix_verdict(shop: Shop):
    return next(v for v in shop.consider("prod").verdicts if v.condition == "hotfix")


# --- what is a hotfix, and when it is in the way ----------------------------------------------


def test_a_hotfix_that_would_be_overwritten_is_named_with_who_can_say_so(hotfixed: Shop):
    verdict = held(hotfixed, "hotfix")
    hotfix = hotfixed.prod.head
    assert verdict.state is State.FAILED
    assert verdict.reason == (
        f"would overwrite prod's own {hotfix[:12]} Mend line 5 (Grace) in report.sql"
    )
    plan = planned(hotfixed)
    assert [c.id for c in plan.hotfixes] == [hotfix]
    for way in (plan.digest, "--allow theirs", "dataops backport prod"):
        assert way in verdict.who


def test_theirs_is_allowed_for_one_promotion(hotfixed: Shop):
    landed(hotfixed.promote("prod", allow={Allowance.THEIRS}))
    assert hotfixed.prod.show("report.sql") + "\n" == edited(5, "of staging")
    assert any("theirs was allowed" in line for line in record(hotfixed).gate)


def test_an_approval_of_exactly_this_plan_lets_a_hotfix_be_overwritten(hotfixed: Shop):
    plan = planned(hotfixed)
    approve(hotfixed, plan, by="Grace")  # who wrote what would overwrite it
    held(hotfixed, "hotfix")
    approve(hotfixed, plan)
    hotfixed.prod.commit({"notes.txt": "of prod\n"}, "Another hotfix")
    held(hotfixed, "hotfix")
    approve(hotfixed, planned(hotfixed))
    landed(hotfixed.promote("prod"))
    assert any("Ada approved to overwrite" in line for line in record(hotfixed).gate)


def test_a_hotfix_that_merges_cleanly_is_named_and_blocks_nothing(released: Shop):
    released.prod.commit({"report.sql": edited(1, "mended")}, "Mend line 1")
    stage(released, {"report.sql": edited(9, "of staging")})
    verdict = hotfix_verdict(released)
    assert (verdict.state, "Mend line 1 (Grace) stays" in verdict.reason) == (State.PASSED, True)
    held(gated(released), "tested tree")
    landed(gated(released, "tested_tree: any").promote("prod"))
    assert released.prod.show("report.sql").split("\n")[::8] == ["mended", "of staging"]


def test_what_the_target_got_before_its_first_release_is_no_hotfix(shop: Shop):
    shop.promote("staging")
    shop.prove(shop.staging)
    assert landed(shop.promote("prod")).hotfixes == ()


def test_a_hotfix_is_none_any_more_once_a_release_contains_it(hotfixed: Shop):
    landed(hotfixed.promote("prod", allow={Allowance.THEIRS}))
    stage(hotfixed, {"report.sql": edited(5, "again")})
    assert landed(hotfixed.promote("prod")).hotfixes == ()


def test_exact_overwrites_no_hotfix_unasked_even_without_a_conflict(released: Shop):
    shop = gated(released, "tested_tree: any", prod="merge: {policy: exact}")
    shop.prod.commit({"prod.sql": "select 1\n"}, "Add a report")
    stage(shop, {"a": "1\n"})
    assert "in prod.sql" in held(shop, "hotfix").reason
    landed(shop.promote("prod", allow={Allowance.THEIRS}))
    assert "prod.sql" not in shop.prod.files()


def test_a_hotfix_of_what_the_target_owns_is_in_nobodys_way(released: Shop):
    shop = gated(released, prod="keep: [report.sql]")
    shop.prod.commit({"report.sql": edited(5, "mended")}, "Mend line 5")
    stage(shop, {"report.sql": edited(5, "of staging")})
    landed(shop.promote("prod"))
    assert shop.prod.show("report.sql") + "\n" == edited(5, "mended")


@pytest.mark.parametrize("files", [{"report.sql": None, "new.sql": edited(5, "of staging")}])
def test_a_hotfix_is_overwritten_in_a_file_that_the_upstream_renamed_only_when_allowed(
    released: Shop, files
):
    released.prod.commit({"report.sql": edited(5, "mended")}, "Mend line 5")
    stage(released, files)
    held(released, "hotfix")


def test_a_hotfix_that_was_merged_into_the_tip_is_not_overwritten_by_an_older_commit(
    hotfixed: Shop,
):
    """Somebody merged the hotfix into staging; what is proven there is from before."""
    shop = hotfixed
    older = shop.staging.head
    git(
        shop.staging.clone,
        "pull",
        "--quiet",
        "--no-rebase",
        "--no-edit",
        "-X",
        "theirs",
        *main_of(shop),
    )
    git(shop.staging.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    assert planned(shop).upstream_commit == older
    held(shop, "hotfix")
    shop.prove(shop.staging)
    assert landed(shop.promote("prod")).hotfixes == ()
    assert "mended" in shop.prod.show("report.sql")


def main_of(shop: Shop) -> tuple[str, str]:
    return str(shop.prod.bare), "main"


# --- backport ---------------------------------------------------------------------------------


def bring_back(shop: Shop, *, dry_run: bool = False):
    """Bring what prod has by itself into staging, as `dataops backport prod` does."""
    target, upstream = (shop.project.workspaces[name] for name in ("prod", "staging"))
    project, receives = backport.turned(shop.project, target, upstream)
    ask = promotion.consider if dry_run else promotion.promote
    refused = backport.refused(shop.project, target, store=shop.store)
    return refused or ask(project, receives, store=shop.store, book=shop.book, now=NOW)


def test_a_backported_hotfix_is_the_upstreams_and_the_next_promotion_lands(released: Shop):
    shop = gated(released)
    shop.prod.commit({"report.sql": edited(1, "mended")}, "Mend line 1")
    stage(shop, {"report.sql": edited(9, "of staging")})
    held(shop, "tested tree")
    assert isinstance(bring_back(shop, dry_run=True), Ready)
    plan = landed(bring_back(shop))
    assert (plan.upstream, plan.target) == ("prod", "staging")
    assert shop.staging.show("report.sql").split("\n")[::8] == ["mended", "of staging"]
    assert record(shop, "staging").upstream == "prod"
    shop.prove(shop.staging)
    plan = landed(shop.promote("prod"))
    assert (plan.hotfixes, plan.equality) == ((), Equality.SAME_COMMIT)
    assert isinstance(bring_back(shop), NothingToDo)


def test_several_hotfixes_are_brought_back_at_once_whatever_the_upstreams_queue(released: Shop):
    shop = gated(released, staging="supersede: every")
    for number in (1, 5):
        shop.prod.commit({f"{number}.sql": "select 1\n"}, "Add a report")
    landed(bring_back(shop))
    assert {"1.sql", "5.sql"} < set(shop.staging.files())


def test_a_backport_refuses_what_both_changed(hotfixed: Shop):
    head = hotfixed.staging.head
    answer = bring_back(hotfixed)
    assert (type(answer), answer.paths) == (Conflicted, ("report.sql",))
    assert hotfixed.staging.head == head


def test_a_backport_leaves_each_what_it_owns(released: Shop):
    shop = gated(released, prod="keep: [prod.txt]", staging="keep: [staging.txt]")
    shop.prod.commit({"prod.txt": "of prod\n", "staging.txt": "mine\n", "a": "1\n"})
    shop.staging.commit({"staging.txt": "of staging\n"})
    landed(bring_back(shop))
    assert shop.staging.show("staging.txt") == "of staging"
    assert "prod.txt" not in shop.staging.files()
    assert shop.staging.show("a") == "1"
    shop.prove(shop.staging)
    landed(shop.promote("prod"))
    assert shop.prod.show("prod.txt") == "of prod"
    assert shop.prod.show("staging.txt") == "of staging"


@pytest.mark.parametrize("forward", [False, True], ids=["merged", "by fast-forward"])
def test_after_a_backport_the_upstream_takes_what_its_own_upstream_has(running_shop: Shop, forward):
    shop = running_shop
    if forward:
        git(shop.dev.bare, "push", "--quiet", str(shop.staging.bare), "+main:main")
        forwardable(shop)
        shop.dev.commit({"b": "1\n"})
        landed(shop.promote("staging"))
        shop.prove(shop.staging)
        landed(shop.promote("prod"))
    shop.prod.commit({"a": "1\n"}, "A hotfix")
    landed(bring_back(shop))
    shop.dev.commit({"c": "1\n"})
    landed(shop.promote("staging"))
    assert {"a", "c"} < set(shop.staging.files())


def test_the_backport_of_a_target_that_was_never_promoted_to_is_refused(shop: Shop):
    shop.promote("staging")
    answer = bring_back(shop)
    assert isinstance(answer, Rejected)
    assert "shares no history" in answer.reason
