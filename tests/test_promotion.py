"""What lands is what by-hand promotion would land, or nothing."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import threading

import pytest

from dataops_dagster import promotion
from dataops_dagster.errors import ToolError
from dataops_dagster.model import (
    Conflicted,
    Equality,
    Held,
    Kept,
    NothingToDo,
    Outcome,
    Override,
    Promoted,
    Raced,
    Ready,
    Rejected,
    State,
)
from dataops_dagster.store import Store
from tests.conftest import NOW, Shop
from tests.repositories import git, make_workspace


def test_a_first_promotion_joins_unrelated_histories_and_takes_the_upstreams_side(shop: Shop):
    answer = shop.promote("staging")
    assert isinstance(answer, Promoted)
    assert shop.staging.tree() == shop.dev.tree()
    assert shop.staging.show("README.md") == "# dev"
    plan = answer.ready.plan
    assert ([o.path for o in plan.overwrites], plan.keeps, plan.equality) == (
        ["README.md"],
        (),
        Equality.SAME_TREE,
    )


def test_a_fast_forward_publishes_the_very_commit_that_was_tested(promoted_shop: Shop):
    shop = promoted_shop
    git(shop.prod.bare, "update-ref", "refs/heads/main", shop.staging.head)
    git(shop.prod.bare, "fetch", "--quiet", str(shop.staging.bare), "main")
    git(shop.prod.bare, "update-ref", "refs/heads/main", shop.staging.head)
    shop.dev.commit({"pipeline.yml": "source: orders\n"})
    shop.promote("staging")
    shop.prove(shop.staging)
    answer = shop.promote("prod")
    assert isinstance(answer, Promoted)
    assert shop.prod.head == shop.staging.head
    assert answer.release.equality == "same commit"


def test_an_empty_target_gets_the_upstreams_commit(empty_shop: Shop):
    empty_shop.dev.commit({"a": "1\n"})
    assert isinstance(empty_shop.promote("staging"), Promoted)
    assert empty_shop.staging.head == empty_shop.dev.head


def test_an_upstream_without_a_branch_is_refused_with_a_hint(empty_shop: Shop):
    answer = empty_shop.promote("staging")
    assert isinstance(answer, Rejected)
    assert answer.reason == "dev has no branch main"


def test_what_the_target_changed_beside_the_upstream_is_kept_and_named(promoted_shop: Shop):
    shop = promoted_shop
    shop.staging.commit({"notes.md": "ours\n"})
    shop.dev.commit({"pipeline.yml": "source: orders\ntarget: warehouse\n"})
    answer = shop.promote("staging")
    assert isinstance(answer, Promoted)
    assert answer.ready.plan.keeps == (Kept("notes.md", explained=False),)
    assert answer.ready.plan.equality is Equality.UNEXPLAINED
    assert shop.staging.show("notes.md") == "ours"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(
            {"pipeline.yml": "source: users\ntarget: lake\n"},
            {"pipeline.yml": "source: users\ntarget: mart\n"},
            id="both changed one line",
        ),
        pytest.param({"new.yml": "a\nours\n"}, {"new.yml": "a\ntheirs\n"}, id="both added a file"),
        pytest.param({"logo.png": b"\0\1ours"}, {"logo.png": b"\0\1theirs"}, id="binary files"),
        pytest.param({"x.txt": "ours\n"}, {"y.txt": "theirs\n"}, id="different files"),
        pytest.param(
            {"deploy.sh": "exit 0\n"},
            {"deploy.sh": None, "scripts/deploy.sh": 'echo "deploying $DATAOPS_COMMIT"\n'},
            id="a file renamed upstream and changed here",
        ),
        pytest.param({"dos.txt": "a\r\nb\r\n"}, {"dos.txt": "a\r\nc\r\n"}, id="CRLF"),
    ],
)
def test_the_tree_is_that_of_merging_by_hand(promoted_shop: Shop, ours, theirs):
    shop = promoted_shop
    shop.staging.commit(ours, "In staging")
    shop.dev.commit(theirs, "In dev")
    twin = make_workspace(shop.root, "twin")
    git(shop.root, "--git-dir", str(twin.bare), "fetch", "-q", str(shop.staging.bare), "+main:main")
    expected = twin.tree(twin.merge(shop.dev))
    assert isinstance(shop.promote("staging"), Promoted)
    assert shop.staging.tree() == expected


def test_attributes_inside_a_repository_do_not_change_a_merge(promoted_shop: Shop):
    shop = promoted_shop
    shop.dev.commit({".gitattributes": "* merge=union\n"})
    shop.promote("staging")
    shop.staging.commit({"pipeline.yml": "source: users\ntarget: lake\n"})
    shop.dev.commit({"pipeline.yml": "source: users\ntarget: mart\n"})
    shop.promote("staging")
    assert shop.staging.show("pipeline.yml") == "source: users\ntarget: mart"


def test_a_file_deleted_here_and_changed_upstream_is_refused_by_name(promoted_shop: Shop):
    shop = promoted_shop
    shop.staging.commit({"deploy.sh": None})
    before = shop.staging.head
    shop.dev.commit({"deploy.sh": "exit 1\n"})
    answer = shop.promote("staging")
    assert isinstance(answer, Conflicted)
    assert answer.paths == ("deploy.sh",)
    assert shop.staging.head == before


def test_nothing_to_do_writes_nothing(promoted_shop: Shop):
    shop = promoted_shop
    before = git(shop.prod.bare, "for-each-ref"), git(shop.prod.bare, "count-objects", "-v")
    for _ in range(3):
        assert isinstance(shop.promote("prod"), NothingToDo)
    assert (
        git(shop.prod.bare, "for-each-ref"),
        git(shop.prod.bare, "count-objects", "-v"),
    ) == before


def test_a_push_that_comes_between_plan_and_publish_is_a_lost_race_and_planned_anew(shop: Shop):
    ready = shop.consider("staging")
    assert isinstance(ready, Ready)
    hotfix = shop.staging.commit({"hotfix.txt": "urgent\n"})
    raced = promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    assert raced == promotion.Raced("staging", ready.plan.base)
    assert (shop.staging.head, shop.staging.tags()) == (hotfix, [])
    assert isinstance(shop.promote("staging"), Promoted)
    assert "hotfix.txt" in shop.staging.files()


def test_a_target_that_was_set_back_meanwhile_is_a_lost_race_too(promoted_shop: Shop):
    shop = promoted_shop
    first = git(shop.staging.bare, "rev-list", "--max-parents=0", "refs/heads/main").split()[-1]
    shop.dev.commit({"a": "1\n"})
    ready = shop.consider("staging")
    git(shop.staging.bare, "update-ref", "refs/heads/main", first)
    assert isinstance(
        promotion.publish(shop.project, ready, store=shop.store, now=NOW), promotion.Raced
    )
    assert shop.staging.head == first


def test_a_lock_that_somebody_holds_for_a_moment_is_waited_for(shop: Shop):
    lock = shop.staging.bare / "refs" / "heads" / "main.lock"
    lock.touch()
    threading.Timer(1.0, lock.unlink).start()
    assert isinstance(shop.promote("staging"), Promoted)


@pytest.mark.slow
def test_a_lock_that_a_dead_server_left_on_the_branch_is_named_and_no_race(shop: Shop):
    head, lock = shop.staging.head, shop.staging.bare / "refs" / "heads" / "main.lock"
    lock.touch()
    answer = shop.promote("staging")
    assert isinstance(answer, Raced)
    assert "refs/heads/main.lock in the way" in answer.reason
    assert "remove that file" in answer.reason
    assert (shop.staging.head, shop.staging.tags()) == (head, [])
    lock.unlink()
    assert isinstance(shop.promote("staging"), Promoted)


def test_two_workers_that_plan_the_same_promotion_make_the_same_commit(shop: Shop):
    other = dataclasses.replace(shop, store=Store(shop.root / "other-cache", "shop"))
    one, two = shop.consider("staging"), other.consider("staging")
    assert one == two
    assert one.plan.digest == two.plan.digest


def test_the_release_records_the_promotion_beside_the_branch(promoted_shop: Shop):
    shop = promoted_shop
    (release,) = promotion.releases(shop.project, shop.project.workspaces["prod"], store=shop.store)
    assert shop.prod.tags() == [release.tag]
    assert git(shop.prod.bare, "rev-parse", f"{release.tag}^{{commit}}") == shop.prod.head
    assert release.commit == shop.prod.head
    assert release.upstream_commit == shop.staging.head
    assert release.evidence == (f"staging {shop.staging.head} passed in staging, run run-1",)
    assert release.gate[0].startswith("evidence passed: staging at")


def test_a_server_without_the_right_to_push_refuses_in_its_own_words(shop: Shop):
    hook = shop.staging.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = shop.staging.head
    answer = shop.promote("staging")
    assert isinstance(answer, Rejected)
    assert "main is protected" in answer.reason
    assert (shop.staging.head, shop.staging.tags()) == (before, [])


def test_a_foreign_project_is_not_merged_into_a_target_that_was_promoted_to(promoted_shop: Shop):
    shop = promoted_shop
    git(shop.dev.clone, "checkout", "--quiet", "--orphan", "other")
    git(shop.dev.clone, "commit", "--quiet", "-m", "Another project")
    git(shop.dev.clone, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
    answer = shop.promote("staging")
    assert isinstance(answer, Rejected)
    assert "shares no history" in answer.reason


def test_the_gate_holds_until_a_run_of_the_upstream_succeeded(shop: Shop):
    shop.promote("staging")
    held = shop.promote("prod")
    assert isinstance(held, Held)
    assert held.verdicts[0].state is State.PENDING
    assert held.reason.startswith(
        "evidence: waits for a successful run of staging in environment staging"
    )
    shop.prove(shop.staging)
    assert isinstance(shop.promote("prod"), Promoted)


def test_production_gets_the_newest_proven_commit_although_the_tip_is_not_proven(shop: Shop):
    shop.promote("staging")
    shop.prove(shop.staging)
    proven = shop.staging.head
    shop.dev.commit({"pipeline.yml": "source: orders\n"})
    shop.promote("staging")
    shop.prove(shop.staging, Outcome.FAILED)
    answer = shop.promote("prod")
    assert isinstance(answer, Promoted)
    assert answer.ready.plan.upstream_commit == proven
    assert shop.prod.show("pipeline.yml") == "source: users\ntarget: warehouse"


def test_a_proven_head_is_found_behind_many_commits_of_the_upstreams_own_upstream(shop: Shop):
    shop.promote("staging")
    shop.prove(shop.staging)
    proven = shop.staging.head
    stream = "".join(
        f"commit refs/heads/main\ncommitter A <a@x> {1_800_000_000 + i} +0000\ndata 1\n.\n"
        + (f"from {shop.dev.head}\n" if i == 0 else "")
        + "\n"
        for i in range(300)
    )
    (shop.root / "stream").write_text(stream)
    with (shop.root / "stream").open() as commits:
        subprocess.run(
            ["git", "--git-dir", str(shop.dev.bare), "fast-import", "--quiet"],
            stdin=commits,
            check=True,
        )
    shop.promote("staging")
    shop.prove(shop.staging, Outcome.FAILED)
    answer = shop.promote("prod")
    assert isinstance(answer, Promoted)
    assert answer.ready.plan.upstream_commit == proven


def test_a_later_failure_of_the_same_commit_revokes_its_proof(shop: Shop):
    shop.promote("staging")
    shop.prove(shop.staging, after=1)
    shop.prove(shop.staging, Outcome.FAILED, after=2)
    held = shop.promote("prod")
    assert isinstance(held, Held)
    assert held.verdicts[0].state is State.FAILED


def test_evidence_from_another_environment_or_of_another_tree_opens_no_gate(shop: Shop):
    shop.promote("staging")
    shop.book.record("staging", shop.staging.head, shop.prod.tree())
    shop.book.evidence.append(
        dataclasses.replace(
            shop.book.evidence[0], tree=shop.staging.tree(), environment="dev", run_id="other"
        )
    )
    assert isinstance(shop.promote("prod"), Held)


def test_an_override_lands_and_is_recorded_with_its_reason(shop: Shop):
    shop.promote("staging")
    answer = shop.promote("prod", override=Override("the auditors asked for it"))
    assert isinstance(answer, Promoted)
    (release,) = promotion.releases(shop.project, shop.project.workspaces["prod"], store=shop.store)
    assert release.override == "the auditors asked for it"
    assert "overridden (the auditors asked for it)" in release.gate[0]


def test_an_override_that_was_not_needed_is_not_recorded(shop: Shop):
    shop.promote("staging", override=Override("no gate is here"))
    shop.prove(shop.staging)
    answer = shop.promote("prod", override=Override("the gate is open"))
    assert isinstance(answer, Promoted)
    assert answer.release.override == ""
    assert answer.release.evidence


def test_a_target_that_was_set_back_is_promoted_again_and_recorded_again(promoted_shop: Shop):
    shop = promoted_shop
    head, (tag,) = shop.prod.head, shop.prod.tags()
    git(shop.prod.bare, "update-ref", "refs/heads/main", f"{head}~1")
    assert isinstance(shop.promote("prod"), Promoted)
    assert (shop.prod.head, shop.prod.tags()) == (head, [tag, f"{tag}-2"])


def test_a_date_beyond_any_calendar_stops_no_promotion(promoted_shop: Shop):
    shop = promoted_shop
    tree, head = shop.dev.tree(), shop.dev.head
    raw = f"tree {tree}\nparent {head}\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 99999999999999 +0000\n\nLater\n"
    (shop.root / "raw").write_text(raw)
    commit = git(shop.dev.bare, "hash-object", "-t", "commit", "-w", str(shop.root / "raw"))
    git(shop.dev.bare, "update-ref", "refs/heads/main", commit)
    assert isinstance(shop.promote("staging"), Promoted)
    git(shop.prod.bare, "update-ref", "-d", "refs/heads/main")
    shop.prove(shop.staging)
    assert isinstance(shop.promote("prod"), Promoted)


def test_a_pinned_commit_must_be_on_the_upstreams_branch(shop: Shop):
    shop.promote("staging")
    answer = shop.promote("prod", commit="f" * 40)
    assert isinstance(answer, Rejected)
    assert "is not a commit on staging's branch" in answer.reason


def test_a_cache_that_goes_between_plan_and_publish_is_fetched_anew(shop: Shop, monkeypatch):
    publish = Store.publish

    def gone(self: Store, *arguments, **more):
        monkeypatch.undo()
        shutil.rmtree(self.folder)
        return publish(self, *arguments, **more)

    monkeypatch.setattr(Store, "publish", gone)
    assert isinstance(shop.promote("staging"), Promoted)
    assert len(shop.staging.tags()) == 1


def test_a_deleted_cache_costs_a_fetch_and_nothing_else(promoted_shop: Shop):
    import shutil

    shop = promoted_shop
    shutil.rmtree(shop.root / "cache")
    shop.dev.commit({"a": "1\n"})
    assert isinstance(
        dataclasses.replace(shop, store=Store(shop.root / "cache", "shop")).promote("staging"),
        Promoted,
    )


def test_a_repository_that_is_not_there_is_named_with_its_place_in_the_configuration(shop: Shop):
    shop.dev.bare.rename(shop.root / "moved.git")
    with pytest.raises(ToolError, match=r"workspaces\.dev\.repository"):
        shop.promote("staging")
