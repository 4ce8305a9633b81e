"""Git alone proves which of a target's commits came through dataops, and no forged record is believed."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from dataops_dagster import audit, backport, plan, promotion, release
from dataops_dagster.audit import How
from dataops_dagster.cli import main
from dataops_dagster.model import Release
from tests.conftest import NOW, Shop
from tests.gates import (
    before,
    decide,
    forwardable,
    gated,
    landed,
    record,
    roll_back,
    set_back,
    stage,
)
from tests.gates import release as released
from tests.repositories import git

pytestmark = pytest.mark.slow


def audited(shop: Shop, target: str = "prod") -> list[audit.Entry]:
    return audit.audit(shop.project, shop.project.workspaces[target], store=shop.store)


def told(shop: Shop, target: str = "prod") -> list[tuple[str, How]]:
    """Return subject and verdict of each commit, newest first."""
    return [(entry.commit.subject, entry.how) for entry in audited(shop, target)]


PROMOTED = ("Promote staging to prod", How.PROMOTION)
ROLLED_BACK = How.ROLLBACK
PLATFORMS = ("Initial commit", How.OTHER)


# --- what is proved ---------------------------------------------------------------------------


def test_promotions_are_proved_and_what_a_person_pushed_is_not(running_shop: Shop):
    shop = gated(running_shop, "tested_tree: any")
    shop.prod.commit({"prod.txt": "of prod\n"}, "A hotfix")
    released(shop, {"a": "1\n"})
    assert told(shop) == [PROMOTED, ("A hotfix", How.OTHER), PROMOTED, PLATFORMS]
    newest, hotfix, oldest, _ = audited(shop)
    assert (newest.release, newest.equality) == (record(shop).tag, "unexplained")
    assert (hotfix.release, hotfix.problem) == ("", "")
    assert oldest.equality == "same tree"


def test_a_fast_forward_proves_all_that_came_with_it(running_shop: Shop):
    shop = forwardable(running_shop)
    shop.staging.commit({"a": "1\n"}, "One")
    stage(shop, {"a": "2\n"}, "Two")
    landed(shop.promote("prod"))
    # What prod began with came another way: somebody pushed staging's branch there.
    assert told(shop)[:3] == [
        ("Two", How.PROMOTION),
        ("One", How.FORWARDED),
        ("Promote dev to staging", How.OTHER),
    ]
    assert {entry.equality for entry in audited(shop)[:2]} == {"same commit"}
    assert {entry.release for entry in audited(shop)[:2]} == {record(shop).tag}


def test_a_branch_that_a_promotion_made_is_proved_to_its_beginning(running_shop: Shop):
    git(running_shop.prod.bare, "update-ref", "-d", "refs/heads/main")
    landed(running_shop.promote("prod"))
    assert [how for _, how in told(running_shop)] == [How.PROMOTION, How.FORWARDED]


def test_rollbacks_are_proved(running_shop: Shop):
    shop = running_shop
    released(shop, {"a": "1\n"})
    roll_back(shop)
    assert [how for _, how in told(shop)[:3]] == [ROLLED_BACK, How.PROMOTION, How.PROMOTION]
    decide(shop, "lift", lifts=shop.prod.head)
    landed(shop.promote("prod"))
    assert [how for _, how in told(shop)[:2]] == [How.PROMOTION, ROLLED_BACK]


def test_after_a_backport_each_sides_own_heads_are_told(running_shop: Shop):
    """The promotion that follows is a fast-forward to a merge whose first parent prod never was."""
    shop = running_shop
    shop.prod.commit({"prod.txt": "of prod\n"}, "A hotfix")
    shop.staging.commit({"a": "1\n"}, "In staging")
    target, upstream = (shop.project.workspaces[name] for name in ("prod", "staging"))
    turned, receives = backport.turned(shop.project, target, upstream)
    landed(promotion.promote(turned, receives, store=shop.store, book=shop.book, now=NOW))
    shop.prove(shop.staging)
    landed(shop.promote("prod"))
    assert shop.prod.head == shop.staging.head
    assert told(shop) == [
        ("Promote prod to staging", How.PROMOTION),
        ("In staging", How.FORWARDED),
        ("A hotfix", How.OTHER),
        PROMOTED,
        PLATFORMS,
    ]
    assert told(shop, "staging")[:2] == [
        ("Promote prod to staging", How.PROMOTION),
        ("In staging", How.OTHER),
    ]


def test_a_promotion_made_again_after_a_reset_is_proved_by_its_second_record(running_shop: Shop):
    shop = running_shop
    head, first = shop.prod.head, record(shop).tag
    set_back(shop.prod, before(shop))
    landed(shop.promote("prod"))
    assert shop.prod.head == head
    assert audited(shop)[0].release == f"{first}-2"
    git(shop.prod.bare, "tag", "-d", f"{first}-2")
    assert audited(shop)[0].release == first


def test_a_plain_clone_is_audited_without_any_server(running_shop: Shop, tmp_path):
    shop = running_shop
    released(shop, {"a": "1\n"})
    git(tmp_path, "clone", "--quiet", str(shop.prod.bare), "plain")
    expected = [(entry.commit.id, entry.how.value, entry.release) for entry in audited(shop)]
    shop.prod.bare.rename(tmp_path / "gone")
    asked = ("--json", "audit", "prod", "--repository", str(tmp_path / "plain"))
    done = CliRunner().invoke(main, asked, env={"DATAOPS_CONFIG": str(shop.root / "dataops.yaml")})
    told = json.loads(done.stdout)
    assert [(row["commit"]["id"], row["how"], row["release"]) for row in told] == expected


def test_an_empty_branch_has_nothing_to_tell(running_shop: Shop):
    git(running_shop.prod.bare, "update-ref", "-d", "refs/heads/main")
    assert audited(running_shop) == []


# --- what is not believed ---------------------------------------------------------------------


def forge(shop: Shop, text: str, *, tag: str | None = None, commit: str = "main") -> str:
    """Put a tag with this record in the place of the head's, or beside it."""
    tag = tag or record(shop).tag
    git(shop.prod.bare, "tag", "--force", "--annotate", "--message", text, tag, commit)
    return tag


def altered(shop: Shop, key: str, value: str) -> str:
    return re.sub(rf"(?m)^{key}: .*$", f"{key}: {value}", release.message(record(shop)))


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("Tree", "d" * 40, "records another tree"),
        ("Commit", "c" * 40, "records another commit"),
        ("Target", "staging", "records another commit"),
        ("Base", "b" * 40, "records other parents"),
        ("Upstream-Commit", "a" * 40, "records other parents"),
        ("Upstream-Commit", "--all", "records other parents"),
        ("Upstream", "dev", "records another plan"),
        ("Upstream", "prod", "records other parents"),
        ("Plan", "sha256:" + "0" * 64, "records another plan"),
        ("Equality", "same commit", "claims same commit"),
        ("Equality", "explained", "claims explained"),
        ("Equality", "perfect", "claims perfect"),
    ],
)
def test_an_altered_record_is_not_believed(running_shop: Shop, key, value, problem):
    tag = forge(running_shop, altered(running_shop, key, value))
    entry = audited(running_shop)[0]
    assert (entry.how, entry.problem) == (How.OTHER, f"{tag}: {problem}")


def consistent(shop: Shop, **claims: str) -> str:
    """Write a record whose plan fits what it claims, as whoever knows our code can."""
    found = Release(**{**vars(record(shop)), **claims})
    digest = plan.digest_of(
        project="shop",
        **{name: getattr(found, name) for name in ("target", "upstream", "upstream_commit", "tag")},
        **{name: getattr(found, name) for name in ("base", "commit", "tree")},
    )
    return release.message(Release(**{**vars(found), "plan": digest}))


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"upstream": "prod", "upstream_commit": "a" * 40}, "records other parents"),
        ({"equality": "unexplained"}, "claims unexplained"),
        ({"target": "staging"}, "records another commit"),
    ],
)
def test_a_record_that_agrees_with_itself_but_not_with_git_is_not_believed(
    running_shop: Shop, claims, problem
):
    forge(running_shop, consistent(running_shop, **claims))
    entry = audited(running_shop)[0]
    assert (entry.how, entry.problem.partition(": ")[2]) == (How.OTHER, problem)


@pytest.mark.parametrize("base", ["itself", "another branch's", "unknown"])
def test_a_fast_forward_from_where_the_branch_never_was_is_not_believed(running_shop: Shop, base):
    shop = forwardable(running_shop)
    stage(shop, {"a": "1\n"})
    landed(shop.promote("prod"))
    git(
        shop.prod.bare,
        "branch",
        "aside",
        git(shop.prod.bare, "commit-tree", "-m", "x", "main^{tree}"),
    )
    bases = {
        "itself": shop.prod.head,
        "another branch's": git(shop.prod.bare, "rev-parse", "aside"),
        "unknown": "b" * 40,
    }
    tag = forge(shop, consistent(shop, base=bases[base]))
    entry = audited(shop)[0]
    assert (entry.how, entry.problem) == (How.OTHER, f"{tag}: records another base")


@pytest.mark.parametrize("to", ["unknown", "with another tree", "of staging"])
def test_a_rollback_to_what_the_target_never_was_is_not_believed(running_shop: Shop, to):
    shop = running_shop
    released(shop, {"a": "1\n"})
    roll_back(shop)
    claims = {
        "unknown": "a" * 40,
        "with another tree": before(shop),
        "of staging": shop.dev.commit({"b": "1\n"}),
    }
    forge(shop, consistent(shop, upstream_commit=claims[to], equality="unexplained"))
    assert audited(shop)[0].how is How.OTHER


def test_a_record_on_another_commit_than_it_tells_of_is_not_believed(running_shop: Shop):
    shop = running_shop
    tag = record(shop).tag
    text = release.message(record(shop))
    shop.prod.commit({"a": "1\n"}, "A hotfix")
    forge(shop, text, tag=tag)
    hotfix, promoted = audited(shop)[:2]
    assert (hotfix.how, hotfix.problem) == (How.OTHER, f"{tag}: records another commit")
    assert (promoted.how, promoted.problem) == (How.OTHER, "")


def test_a_record_under_another_name_or_as_a_plain_tag_is_not_believed(running_shop: Shop):
    shop = running_shop
    text, tag = release.message(record(shop)), record(shop).tag
    git(shop.prod.bare, "tag", "-d", tag)
    forge(shop, text, tag=f"{tag}-copy")
    git(shop.prod.bare, "tag", tag, "main")
    entry = audited(shop)[0]
    assert (entry.how, entry.problem) == (How.OTHER, f"{tag}-copy: records another plan")


def test_a_forged_record_beside_a_true_one_does_not_hide_it(running_shop: Shop):
    shop = running_shop
    true = record(shop).tag
    forge(shop, altered(shop, "Tree", "d" * 40), tag=f"{true}-9")
    forge(shop, "Not a record", tag=f"{true}-10")
    entry = audited(shop)[0]
    assert (entry.how, entry.release, entry.problem) == (How.PROMOTION, true, "")


def test_a_promotions_message_alone_proves_nothing(running_shop: Shop):
    shop = running_shop
    message = git(shop.prod.bare, "log", "-1", "--format=%B")
    shop.prod.commit({"a": "1\n"}, message)
    assert told(shop)[:2] == [("Promote staging to prod", How.OTHER), PROMOTED]
