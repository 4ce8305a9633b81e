"""Several upstreams of one target, and several targets of one upstream."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dataops_dagster.model import (
    Conflicted,
    Equality,
    Held,
    NothingToDo,
    Outcome,
    Promoted,
    Ready,
    Rejected,
    State,
)
from tests.conftest import NOW, SHOP, Shop
from tests.gates import configured, forwardable, landed, opens_at, record
from tests.repositories import git

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
RUN = "    run: {platform: command, command: [sh, run.sh], deadline: 1m}\n"


def fed_by_both(shop: Shop, rule: str, *conditions: str) -> Shop:
    """Return the shop whose prod has two upstreams, staging and dev, which are both run."""
    gate = f"    gate: {{{', '.join((f'upstreams: {rule}', *conditions))}}}\n"
    text = SHOP.replace("    upstream: staging\n", "    upstream: [staging, dev]\n")
    text = text.replace("    gate: {environment: staging}\n", gate)
    return configured(shop, text.replace("    environment: dev\n", f"    environment: dev\n{RUN}"))


def both(shop: Shop, files, *, proven: tuple[str, ...] = ()) -> str:
    """Let staging and dev get the same files in commits of their own; returns staging's."""
    shop.staging.commit(files, "In staging")
    shop.dev.commit(files, "In dev")
    for name in proven:
        shop.prove(getattr(shop, name))
    return shop.staging.head


# --- all must have proved it ------------------------------------------------------------------


def test_all_upstreams_must_have_proved_the_tree_that_lands(running_shop: Shop):
    shop = fed_by_both(running_shop, "all")
    commit = both(shop, {"a": "1\n"}, proven=("staging",))
    answer = shop.promote("prod")
    assert isinstance(answer, Held)
    (verdict,) = answer.verdicts
    assert [(p.state, p.condition) for p in verdict.parts] == [
        (State.PASSED, "evidence"),
        (State.PENDING, "evidence"),
    ]
    assert (verdict.state, verdict.who) == (State.PENDING, "whoever may run dev")
    shop.prove(shop.dev)
    assert landed(shop.promote("prod")).upstream_commit == commit
    assert [line.split(" ")[0] for line in record(shop).evidence] == ["staging", "dev"]


def test_another_upstream_proves_nothing_of_another_tree(running_shop: Shop):
    shop = fed_by_both(running_shop, "all")
    both(shop, {"a": "1\n"}, proven=("staging",))
    shop.dev.commit({"b": "1\n"})
    shop.prove(shop.dev)
    assert isinstance(shop.promote("prod"), Held)


def test_the_newest_commit_that_all_proved_lands(running_shop: Shop):
    shop = fed_by_both(running_shop, "all")
    proven = both(shop, {"a": "1\n"}, proven=("staging", "dev"))
    both(shop, {"a": "2\n"}, proven=("staging",))
    both(shop, {"a": "3\n"}, proven=("dev",))
    assert landed(shop.promote("prod")).upstream_commit == proven


def test_one_upstreams_later_failure_revokes_for_all(running_shop: Shop):
    shop = fed_by_both(running_shop, "all")
    both(shop, {"a": "1\n"}, proven=("staging", "dev"))
    shop.prove(shop.dev, Outcome.FAILED, after=1)
    answer = shop.promote("prod")
    assert isinstance(answer, Held)
    assert answer.verdicts[0].state is State.FAILED


def test_it_soaks_in_each_of_them(running_shop: Shop):
    shop = fed_by_both(running_shop, "all", "soak: 1h")
    both(shop, {"a": "1\n"}, proven=("staging",))
    assert shop.consider("prod").verdicts[1].earliest is None
    shop.prove(shop.dev, after=1800)
    verdict = shop.consider("prod", now=NOW + HOUR).verdicts[1]
    assert (verdict.state, verdict.earliest) == (State.PENDING, NOW + HOUR * 1.5)
    assert opens_at(shop, NOW + HOUR * 1.5)


def test_of_all_upstreams_the_first_is_what_lands(running_shop: Shop):
    shop = fed_by_both(running_shop, "all")
    shop.dev.commit({"a": "1\n"})
    shop.prove(shop.dev)
    assert isinstance(shop.promote("prod"), NothingToDo)


# --- any may have proved it -------------------------------------------------------------------


def test_any_upstream_that_proved_its_commit_lands_it(running_shop: Shop):
    shop = fed_by_both(running_shop, "any")
    shop.staging.commit({"a": "of staging\n"})
    shop.dev.commit({"b": "of dev\n"})
    shop.prove(shop.dev)
    plan = landed(shop.promote("prod"))
    assert (plan.upstream, plan.upstream_commit) == ("dev", shop.dev.head)
    assert "a" not in shop.prod.files()


def test_what_each_upstream_waits_for_is_told(running_shop: Shop):
    shop = fed_by_both(running_shop, "any", "soak: 1h")
    both(shop, {"a": "1\n"}, proven=("staging",))
    answer = shop.promote("prod")
    assert isinstance(answer, Held)
    (verdict,) = answer.verdicts
    assert (verdict.condition, verdict.state, verdict.earliest) == (
        "upstreams",
        State.PENDING,
        None,
    )
    assert "staging at" in verdict.reason
    assert "; or waits for a successful run of dev" in verdict.reason
    shop.prove(shop.dev, after=-60)
    (verdict,) = shop.promote("prod").verdicts
    assert verdict.earliest == NOW + HOUR - timedelta(minutes=1)
    assert opens_at(shop, verdict.earliest)


@pytest.mark.parametrize("forward", [False, True], ids=["merged", "by fast-forward"])
def test_the_commits_of_any_upstream_land_after_those_of_another(running_shop: Shop, forward):
    shop = fed_by_both(running_shop, "any", "tested_tree: any")
    if forward:
        forwardable(shop)
    shop.staging.commit({"a": "of staging\n"})
    shop.prove(shop.staging)
    plan = landed(shop.promote("prod"))
    assert (plan.equality is Equality.SAME_COMMIT) == forward
    shop.dev.commit({"b": "of dev\n"})
    shop.prove(shop.dev)
    assert landed(shop.promote("prod")).upstream == "dev"
    assert {"a", "b"} < set(shop.prod.files())
    shop.staging.commit({"a": "again\n"})
    shop.prove(shop.staging)
    assert landed(shop.promote("prod")).upstream == "staging"
    assert isinstance(shop.promote("prod"), NothingToDo)


def test_a_commit_is_named_on_whichever_upstream_has_it(running_shop: Shop):
    shop = fed_by_both(running_shop, "any")
    both(shop, {"a": "1\n"}, proven=("staging", "dev"))
    answer = shop.consider("prod", commit=shop.dev.head)
    assert isinstance(answer, Ready)
    assert answer.plan.upstream == "dev"
    assert isinstance(shop.consider("prod", commit="f" * 40), Rejected)


def test_an_upstream_that_cannot_land_does_not_stop_another(running_shop: Shop):
    shop = fed_by_both(running_shop, "any")
    shop.prod.commit({"deploy.sh": None})
    shop.staging.commit({"deploy.sh": "exit 1\n"})
    shop.prove(shop.staging)
    assert isinstance(shop.promote("prod"), Conflicted)
    shop.dev.commit({"deploy.sh": None, "b": "1\n"})
    shop.prove(shop.dev)
    assert landed(shop.promote("prod")).upstream == "dev"


def test_an_upstream_without_a_branch_is_named(running_shop: Shop):
    shop = fed_by_both(running_shop, "all")
    git(shop.dev.bare, "update-ref", "-d", "refs/heads/main")
    answer = shop.promote("prod")
    assert isinstance(answer, Rejected)
    assert answer.reason == "dev has no branch main"


# --- several targets --------------------------------------------------------------------------

TWO = SHOP.replace("    upstream: staging\n", "    upstream: dev\n").replace(
    "    gate: {environment: staging}\n", "    gate: {soak: 1h}\n"
)


def test_each_target_of_an_upstream_has_its_own_gate(running_shop: Shop):
    shop = configured(
        running_shop, TWO.replace("    environment: dev\n", f"    environment: dev\n{RUN}")
    )
    shop.dev.commit({"a": "1\n"})
    shop.prove(shop.dev)
    assert isinstance(shop.promote("staging"), Promoted)
    assert isinstance(shop.promote("prod"), Held)
    assert opens_at(shop, NOW + HOUR)
    landed(shop.promote("prod", now=NOW + HOUR))
    assert shop.staging.tree() == shop.prod.tree() == shop.dev.tree()
    assert [w.name for w in shop.project.targets_of(shop.project.workspaces["dev"])] == [
        *("staging", "prod")
    ]


def test_an_upstream_that_has_no_branch_yet_keeps_nothing_from_the_other(running_shop: Shop):
    shop = fed_by_both(running_shop, "any")
    commit = both(shop, {"a": "1\n"}, proven=("staging",))
    git(shop.dev.bare, "update-ref", "-d", "refs/heads/main")
    assert landed(shop.promote("prod")).upstream_commit == commit
    shop = fed_by_both(running_shop, "all")
    assert isinstance(shop.promote("prod"), Rejected)
