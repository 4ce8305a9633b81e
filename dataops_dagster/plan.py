"""What a promotion would do, as data: pure functions from facts to a `Plan` and its texts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from dataops_dagster.model import Commit, Equality, Plan

# A commit may claim any date of 64 bits.
_LATEST_TIME = 2**32


def equality(*, commit: str, tree: str, upstream: Commit) -> Equality:
    """Return how much a promotion's result equals the upstream's commit, strongest first."""
    if commit == upstream.id:
        return Equality.SAME_COMMIT
    # What the target keeps is listed in the plan, path by path: a difference, but a named one.
    return Equality.SAME_TREE if tree == upstream.tree else Equality.EXPLAINED


def signed(plan: Plan) -> Plan:
    """Return the plan with the digest that names exactly it."""
    return dataclasses.replace(plan, digest=_digest(plan))


def _digest(plan: Plan) -> str:
    """Hash what the plan decides; its commit already depends on base, upstream and tree."""
    decided = [
        plan.project,
        plan.target,
        plan.upstream,
        plan.base,
        plan.upstream_commit,
        plan.commit,
        plan.tree,
    ]
    text = json.dumps(decided, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def commit_message(*, project: str, upstream: str, target: str, upstream_commit: Commit) -> str:
    """Return the promotion commit's message; it may depend on the promotion's inputs only."""
    return (
        f"Promote {upstream} to {target}\n\n"
        f"Project: {project}\nUpstream: {upstream}\nUpstream-Commit: {upstream_commit.id}\n"
    )


def moment(*commits: Commit) -> int:
    """Return the newest commit's date, in UTC seconds and within what a calendar holds."""
    return min(max(0, *(commit.time for commit in commits)), _LATEST_TIME)


def as_data(value: Any) -> Any:
    """Turn a value of ours into what JSON can hold; the keys are the glossary's words."""
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))
