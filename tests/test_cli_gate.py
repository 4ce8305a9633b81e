"""The commands about gates: why, what people decide, and what comes after a promotion."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dagster as dg
import pytest

from tests.conftest import PROJECT_FILES, SHOP, Shop, make_shop
from tests.dagster_shop import DagsterShop
from tests.repositories import git
from tests.test_cli import configured, dataops, empty_home

pytestmark = pytest.mark.slow

__all__ = ["configured", "empty_home"]


@pytest.fixture
def made(tmp_path: Path, empty_home: Path):
    """Return what makes a shop whose production has a gate like this, staging promoted and run."""

    def make(gate: str = "{}") -> Shop:
        shop = make_shop(tmp_path, SHOP.replace("gate: {environment: staging}", f"gate: {gate}"))
        shop.dev.commit(PROJECT_FILES, "Initial commit")
        settle(shop)
        return shop

    assert empty_home.exists()
    return make


def settle(shop: Shop) -> None:
    """Let automation do all that is due."""
    with dg.DagsterInstance.get() as instance:
        DagsterShop(shop, instance).settle()


def digest() -> str:
    return dataops("--json", "plan", "prod").json["plan"]["digest"]


def test_why_says_every_condition_who_can_change_it_and_when(made):
    made("{soak: 1d, approvals: {quorum: 2}}")
    done = dataops("why", "prod")
    assert done.code == 0
    first, *tree = done.out.splitlines()
    assert first == "prod: not yet"
    told = done.out.replace("\n", "")
    assert "  passed evidence: staging at" in tree[0]
    assert "waits soak: staging at" in told
    assert "[not before 20" in told
    assert "waits approvals: 0 of 2 for sha256:" in told
    assert "whoever may approve: dataops approve prod --plan sha256:" in told
    answer = dataops("--json", "why", "prod").json
    assert answer["answer"] == "Held"
    states = {verdict["condition"]: verdict["state"] for verdict in answer["gate"]}
    assert states == {
        "evidence": "passed",
        "soak": "pending",
        "tested tree": "passed",
        "approvals": "pending",
    }
    assert all(v["reason"] and v["who"] for v in answer["gate"])


def test_why_says_that_there_is_nothing_to_do(made):
    made()
    done = dataops("why", "prod")
    assert done.code == 0
    assert "nothing to do" in done.out


def test_a_plan_is_approved_and_lands(made):
    shop = made("{approvals: {exclude_authors: false}}")
    assert not shop.prod.head
    done = dataops("approve", "prod", "--plan", digest(), "--by", "Ada", "--reason", "looks good")
    assert done.code == 0
    assert "recorded: Ada: approve prod" in done.out
    assert dataops("--json", "why", "prod").json["answer"] == "Ready"
    assert dataops("promote", "prod").code == 0
    assert shop.prod.head


def test_who_wrote_it_cannot_approve_it(made):
    made("{approvals: {}}")
    dataops("approve", "prod", "--plan", digest(), "--by", "Grace")  # who makes the tests' commits
    assert "Grace wrote a part of it" in dataops("why", "prod").out.replace("\n", " ")


def test_a_plan_is_approved_by_a_signature(made, tmp_path: Path):
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "signers").write_text(f"ada@example.com {public}")
    shop = made("{approvals: {allowed_signers: signers}}")
    dataops("approve", "prod", "--plan", digest(), "--by", "ada@example.com")
    assert "ada@example.com's is not signed" in dataops("why", "prod").out.replace("\n", " ")
    done = dataops("approve", "prod", "--plan", digest(), "--key", str(key), "--expires", "1d")
    assert done.code == 0, done.err
    assert "approved: dataops-approvals/shop/prod/" in done.out.replace("\n", "")
    settle(shop)
    assert shop.prod.head


def test_nobody_signs_a_plan_that_is_not_there(made, tmp_path: Path):
    made("{approvals: {}}")
    done = dataops("approve", "prod", "--plan", "sha256:" + "0" * 64, "--key", str(tmp_path / "id"))
    assert done.code == 2
    assert "is not the plan for prod: it is sha256:" in done.err


def test_a_hold_is_placed_and_lifted(made):
    shop = made()
    assert dataops("hold", "prod", "--reason", "audit", "--by", "Ada", "--expires", "1d").code == 0
    before = shop.prod.head
    shop.dev.commit({"new.yml": "a: 1\n"})
    settle(shop)
    assert shop.prod.head == before
    assert "Ada holds it until" in dataops("why", "prod").out
    assert dataops("lift", "prod").code == 0
    settle(shop)
    assert shop.prod.tree() == shop.dev.tree()


def test_a_rejected_commit_does_not_land(made):
    shop = made("{approvals: {}}")
    assert dataops("reject", "prod", shop.staging.head, "--reason", "wrong numbers").code == 0
    told = dataops("--json", "why", "prod").json["gate"]
    (rejected,) = [verdict for verdict in told if verdict["condition"] == "rejected"]
    assert rejected["state"] == "failed"
    id_ = rejected["who"].split()[-1]
    assert dataops("lift", "prod", id_).code == 0
    told = dataops("--json", "why", "prod").json["gate"]
    assert "rejected" not in {verdict["condition"] for verdict in told}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("approve", "prod", "--plan", "x"), "plan: is no plan's digest"),
        (("hold", "prod", "--reason", " "), "reason: is empty"),
        (("hold", "staging", "--reason", "x"), "target staging: is no workspace with a gate"),
        (("hold", "prod", "--reason", "x", "--expires", "soon"), "expires: is no time"),
        (("reject", "prod", "main", "--reason", "x"), "commit: is not a commit on a branch"),
        (("lift", "prod", "feed"), "lifts: there is no hold or rejection feed"),
        (("rollback", "prod", "--reason", "x", "--to", "v1"), ""),
        (("backport", "prod", "--to", "dev"), "--to: dev is no upstream of prod"),
    ],
)
def test_a_mistake_is_told_in_words(made, arguments, said):
    made()
    done = dataops(*arguments)
    assert done.code in (1, 2)
    assert said in done.err
    assert "hint:" in done.err + done.out


def test_a_decision_needs_an_instance(shop: Shop):
    assert shop.root
    done = dataops("hold", "prod", "--reason", "x")
    assert done.code == 2
    assert "DAGSTER_HOME: is not set" in done.err


def test_production_is_rolled_back_and_stays_until_it_is_lifted(made):
    shop = made()
    good = shop.prod.tree()
    shop.dev.commit({"new.yml": "a: 1\n"})
    settle(shop)
    planned = dataops("--json", "rollback", "prod", "--reason", "numbers are off", "--dry-run")
    assert planned.json["answer"] == "Ready"
    assert [change["path"] for change in planned.json["plan"]["changes"]] == ["new.yml"]
    done = dataops("rollback", "prod", "--reason", "numbers are off", "--by", "Ada")
    assert done.code == 0
    assert "rolled back: release dataops/shop/prod/" in done.out
    assert shop.prod.tree() == good
    settle(shop)
    assert shop.prod.tree() == good
    assert "Ada holds it: rolled back to" in dataops("why", "prod").out
    again = dataops("rollback", "prod", "--reason", "again")
    assert again.code == 1
    assert "is rolled back already" in again.out
    assert dataops("lift", "prod").code == 0
    settle(shop)
    assert shop.prod.tree() == shop.dev.tree()


def test_a_release_is_named_to_go_back_to(made):
    shop = made()
    first, tree = shop.prod.tags()[0], shop.prod.tree()
    for name in ("a.yml", "b.yml"):
        shop.dev.commit({name: "a: 1\n"})
        settle(shop)
    done = dataops("rollback", "prod", "--reason", "x", "--to", first.rpartition("/")[2])
    assert done.code == 0
    assert shop.prod.tree() == tree


def test_what_production_got_by_itself_is_brought_into_staging(made):
    shop = made()
    shop.prod.commit({"hotfix.sql": "select 1\n"}, "Hotfix")
    shop.dev.commit({"new.yml": "a: 1\n"})
    settle(shop)
    assert "hotfix.sql" not in shop.staging.files()
    assert "new.yml" not in shop.prod.files()  # nobody tested the two together
    assert "dataops backport prod" in dataops("why", "prod").out.replace("\n", " ")
    assert dataops("--json", "backport", "prod", "--dry-run").json["answer"] == "Ready"
    assert dataops("backport", "prod").code == 0
    assert {"hotfix.sql", "new.yml"} <= set(shop.staging.files())
    settle(shop)
    assert shop.prod.tree() == shop.staging.tree()


def test_an_audit_names_what_came_another_way(made, tmp_path: Path):
    shop = made()
    shop.prod.commit({"hotfix.sql": "select 1\n"}, "Hotfix")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(shop.prod.bare), str(clone))
    for more in ((), ("--repository", str(clone))):
        done = dataops("--json", "audit", "prod", *more)
        assert done.code == 0, done.err
        ways = [entry["how"] for entry in done.json]
        assert ways[0] == "not through dataops"
        assert "promotion" in ways
    assert "1 not through dataops" in dataops("audit", "prod").out
