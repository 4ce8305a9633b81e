"""What a promotion would do, as data: pure functions from facts to a `Plan` and its texts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from dataops_dagster.model import Commit, Equality, Kept, Overwrite, Plan

# A commit may claim any date of 64 bits.
_LATEST_TIME = 2**32


def equality(
    *, commit: str, tree: str, upstream: Commit, in_scope: bool, declared: str
) -> Equality:
    """Return how much a promotion's result equals the upstream's commit, strongest first.

    `in_scope` says that it is equal where it counts; `declared` is the upstream's tree with
    everything put in that the target declared to own.
    """
    if commit == upstream.id:
        return Equality.SAME_COMMIT
    if tree == upstream.tree:
        return Equality.SAME_TREE
    if in_scope:
        return Equality.SAME_SCOPE
    return Equality.EXPLAINED if tree == declared else Equality.UNEXPLAINED


def signed(plan: Plan) -> Plan:
    """Return the plan with the digest that names exactly it."""
    digest = digest_of(
        project=plan.project,
        target=plan.target,
        upstream=plan.upstream,
        base=plan.base,
        upstream_commit=plan.upstream_commit,
        commit=plan.commit,
        tree=plan.tree,
        tag=plan.tag,
    )
    return dataclasses.replace(plan, digest=digest)


def digest_of(
    *,
    project: str,
    target: str,
    upstream: str,
    base: str | None,
    upstream_commit: str,
    commit: str,
    tree: str,
    tag: str,
) -> str:
    """Hash what a plan decides.

    With the tag the same promotion, after the target was set back, is another plan: what was
    approved once is not approved again.
    """
    decided = [project, target, upstream, base, upstream_commit, commit, tree, tag]
    text = json.dumps(decided, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def is_digest(text: str) -> bool:
    """Say whether `text` could name a plan."""
    return bool(re.fullmatch(r"sha256:[0-9a-f]{64}", text))


def commit_message(*, project: str, upstream: str, target: str, upstream_commit: Commit) -> str:
    """Return the promotion commit's message; it may depend on the promotion's inputs only."""
    return (
        f"Promote {upstream} to {target}\n\n"
        f"Project: {project}\nTarget: {target}\n"
        f"Upstream: {upstream}\nUpstream-Commit: {upstream_commit.id}\n"
    )


ROLLBACK_TO, BY, REASON = "Rollback-To", "By", "Reason"
"""Keys in the message of a commit that rolls back."""


def rollback_message(*, project: str, target: str, to: str, by: str, reason: str) -> str:
    """Return the message of the commit that rolls a target back to an earlier release's commit."""
    return (
        f"Roll {target} back to {to[:12]}\n\n"
        f"Project: {project}\nTarget: {target}\n{ROLLBACK_TO}: {to}\n{BY}: {by}\n{REASON}: {reason}\n"
    )


def promoted_from(
    trailers: Mapping[str, str], *, project: str, upstream: str, target: str
) -> str | None:
    """Read back whose commit a promotion commit merged.

    None when the message is none of ours for this target; empty for one from another upstream.
    """
    if (trailers.get("Project"), trailers.get("Target")) != (project, target):
        return None
    return trailers.get("Upstream-Commit", "") if trailers.get("Upstream") == upstream else ""


def rolled_back_to(trailers: Mapping[str, str], *, project: str, target: str) -> str:
    """Read back whose tree a rollback's commit has; empty when the message is no such of this target."""
    if (trailers.get("Project"), trailers.get("Target")) != (project, target):
        return ""
    return trailers.get(ROLLBACK_TO, "")


def moment(*commits: Commit) -> int:
    """Return the newest commit's date, in UTC seconds and within what a calendar holds."""
    return min(max(0, *(commit.time for commit in commits)), _LATEST_TIME)


def overwritten(overwrite: Overwrite) -> list[tuple[str, str, str, str]]:
    """Return rows of path, line, commit and author that tell what a path loses."""
    if overwrite.line_count is None:
        return [(overwrite.path, "(too much to look at each line)", "", "")]
    rows = [(overwrite.path, line.text, line.commit[:12], line.author) for line in overwrite.lines]
    more = (overwrite.line_count or 0) - len(rows)
    if more:
        rows.append((overwrite.path, f"… and {more} more lines", "", ""))
    return rows or [(overwrite.path, "(no line of the target's own)", "", "")]


def reason_of(kept: Kept) -> str:
    """Say why a path of the result differs from the upstream's tree."""
    return "the target owns it" if kept.explained else "the target's history has it so"


def as_data(value: Any) -> Any:
    """Turn a value of ours into what JSON can hold; the keys are the glossary's words."""
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))
