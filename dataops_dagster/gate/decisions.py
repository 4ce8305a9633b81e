"""What did people decide: holds, rejections, approvals. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from dataops_dagster.model import Decision, DecisionKind, Plan, State, Verdict
from dataops_dagster.settings_gate import Approvals
from dataops_dagster.text import moment

SKEW = timedelta(minutes=5)
"""How far the clocks of two machines may be apart; what is later than that has not happened yet."""


def lifted(decisions: Sequence[Decision]) -> set[str]:
    """Return the ids of what was lifted: of decisions, and commits of rollbacks."""
    return {d.lifts for d in decisions if d.kind is DecisionKind.LIFT}


def in_force(decisions: Sequence[Decision], kind: DecisionKind, now: datetime) -> list[Decision]:
    """Return the decisions of a kind that were not lifted and are not over."""
    gone = lifted(decisions)
    return [
        d
        for d in decisions
        if d.kind is kind and d.id not in gone and (d.expires is None or now < d.expires)
    ]


def hold_verdict(decisions: Sequence[Decision], now: datetime) -> Verdict | None:
    """Say who holds the target; None when nobody does."""
    holds = in_force(decisions, DecisionKind.HOLD, now)
    if not holds:
        return None
    ends = [hold.expires for hold in holds]
    told = (
        f"{hold.by} holds it{f' until {moment(hold.expires)}' if hold.expires else ''}:"
        f" {hold.reason} (hold {hold.id[:12]})"
        for hold in holds
    )
    return Verdict(
        "hold",
        State.PENDING,
        "; ".join(told),
        "; ".join(f"{hold.by}: dataops lift {hold.target} {hold.id[:12]}" for hold in holds),
        max(ends) if all(ends) else None,  # type: ignore[type-var]  # no None is left
    )


def rejected_verdict(
    commit: str, tree: str, decisions: Sequence[Decision], *, now: datetime
) -> Verdict | None:
    """Say whether a commit, or its tree under any commit, was rejected; None when it was not."""
    for rejection in in_force(decisions, DecisionKind.REJECT, now):
        is_commit = bool(commit) and commit == rejection.commit
        if is_commit or (tree and tree == rejection.tree):
            what = f"the commit {commit[:12]}" if is_commit else "its very tree"
            return Verdict(
                "rejected",
                State.FAILED,
                f"{rejection.by} rejected {what}: {rejection.reason} (rejection {rejection.id[:12]})",
                f"{rejection.by}: dataops lift {rejection.target} {rejection.id[:12]}",
            )
    return None


def approvers(
    digest: str,
    decisions: Sequence[Decision],
    rule: Approvals,
    *,
    authors: Collection[str] = (),
    now: datetime,
) -> tuple[dict[str, datetime], list[str]]:
    """Return who approves exactly the plan of this digest and until when, and why others do not count.

    `authors` are names and addresses of who wrote the plan's commits.
    """
    wrote = {_same(author) for author in authors} if rule.exclude_authors else set()
    found: dict[str, tuple[str, datetime]] = {}
    others = []
    gone = lifted(decisions)
    for approval in decisions:
        if approval.kind is not DecisionKind.APPROVE or approval.plan != digest:
            continue
        if approval.id in gone:
            others.append(f"{approval.by}'s was lifted")
            continue
        until = min(filter(None, (approval.time + rule.expires, approval.expires)))
        if wrote & {_same(name) for name in (approval.by, *re.split("[<>]", approval.by))}:
            others.append(f"{approval.by} wrote a part of it")
        elif rule.allowed_signers and not approval.signed:
            others.append(f"{approval.by}'s is not signed")
        elif approval.time > now + SKEW:
            others.append(f"{approval.by}'s is dated {moment(approval.time)}")
        elif now >= until:
            others.append(f"{approval.by}'s expired at {moment(until)}")
        else:
            by, known = found.get(_same(approval.by), (approval.by, until))
            found[_same(by)] = by, max(until, known)
    return dict(found.values()), list(dict.fromkeys(others))


def approved_deployments(
    decisions: Sequence[Decision], rule: Approvals, *, now: datetime
) -> frozenset[str]:
    """Return the digests of what enough people approve now, for deployments.

    Whose commits a deployment brings is not asked: its plan says what it does to a platform.
    """
    digests = {d.plan for d in decisions if d.kind is DecisionKind.APPROVE}
    return frozenset(
        digest
        for digest in digests
        if len(approvers(digest, decisions, rule, now=now)[0]) >= rule.quorum
    )


def approvals_verdict(
    plan: Plan,
    decisions: Sequence[Decision],
    rule: Approvals,
    *,
    authors: Collection[str],
    now: datetime,
) -> Verdict:
    """Say whether enough people approve exactly this plan."""
    found, others = approvers(plan.digest, decisions, rule, authors=authors, now=now)
    names = f" ({', '.join(sorted(found))})" if found else ""
    left_out = f"; {'; '.join(others)}" if others else ""
    enough = len(found) >= rule.quorum
    return Verdict(
        "approvals",
        State.PASSED if enough else State.PENDING,
        f"{len(found)} of {rule.quorum} for {plan.digest[:19]}{names}{left_out}",
        f"whoever may approve: dataops approve {plan.target} --plan {plan.digest}",
    )


def _same(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
