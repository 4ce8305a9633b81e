"""What gates judge, made short: evidence, decisions, plans."""

from __future__ import annotations

from datetime import timedelta

from dataops_dagster.model import (
    Commit,
    Decision,
    DecisionKind,
    Equality,
    Evidence,
    Outcome,
    Plan,
    State,
    Verdict,
)
from tests.conftest import NOW

DIGEST = "sha256:" + "a" * 64
INSTANT = timedelta(microseconds=1)


def evidence(commit: str, outcome=Outcome.PASSED, *, at=0, run="", detail="") -> Evidence:
    """Return a run that ended `at` seconds after NOW."""
    return Evidence(
        workspace="staging",
        commit=commit,
        tree="d" * 40,
        environment="staging",
        outcome=outcome,
        run_id=run or f"run-{at}",
        time=NOW + timedelta(seconds=at),
        ran="sh run.sh",
        detail=detail,
    )


def decision(kind: DecisionKind, id_: str = "1" * 40, *, at=0, **more) -> Decision:
    """Return what Ada decided `at` seconds after NOW."""
    said = {"by": "Ada", "reason": "the auditors asked", "time": NOW + timedelta(seconds=at)}
    return Decision(id=id_, kind=kind, target="prod", **{**said, **more})


def lift(*ids: str) -> list[Decision]:
    return [decision(DecisionKind.LIFT, f"lift-{id_}", lifts=id_) for id_ in ids]


def plan(equality: Equality = Equality.SAME_TREE, **more) -> Plan:
    made = {
        "project": "shop",
        "target": "prod",
        "upstream": "staging",
        "base": "b" * 40,
        "upstream_commit": "c" * 40,
        "commit": "e" * 40,
        "tree": "d" * 40,
        "commit_count": 0,
        "commits": (),
        "changes": (),
        "overwrites": (),
        "keeps": (),
        "tag": "dataops/shop/prod/1",
        "digest": DIGEST,
    }
    return Plan(equality=equality, **{**made, **more})


def commit(id_: str, subject: str, author: str = "Grace") -> Commit:
    return Commit(id_ * 40, "d" * 40, author, subject, 0)


def verdict(state: State, reason: str = "", **more) -> Verdict:
    return Verdict("condition", state, reason, **{"who": "somebody", **more})
