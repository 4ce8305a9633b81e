"""May exactly this result land: is it what was tested, and whose work would it undo? Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dataops_dagster.gate.lint import Finding
from dataops_dagster.model import Equality, Plan, State, Verdict
from dataops_dagster.settings_gate import TreeRule

_SHOWN = 5
_TESTED = (Equality.SAME_COMMIT, Equality.SAME_TREE, Equality.SAME_SCOPE)


def needs_retest(plan: Plan, rule: TreeRule) -> bool:
    """Say whether the result itself has to be run before it lands."""
    return rule is TreeRule.RETEST and plan.equality not in _TESTED


def tested_verdict(plan: Plan, rule: TreeRule, retests: Sequence[Verdict]) -> Verdict:
    """Say whether what lands is what was tested; `retests` say so of the result itself."""
    level = plan.equality.value
    who = f"whoever may change {plan.target}.gate.tested_tree or {plan.target}.keep"
    accepted = {
        TreeRule.SAME: _TESTED,
        TreeRule.EXPLAINED: (*_TESTED, Equality.EXPLAINED),
        TreeRule.RETEST: _TESTED,
        TreeRule.ANY: tuple(Equality),
    }[rule]
    if plan.equality in accepted:
        return Verdict(
            "tested tree",
            State.PASSED,
            f"what lands equals {plan.upstream_commit[:12]} of {plan.upstream}: {level}",
            who,
        )
    if rule is TreeRule.RETEST:
        (retest,) = retests
        return Verdict(
            "tested tree",
            retest.state,
            f"what lands ({plan.commit[:12]}) differs from what was run ({level}): {retest.reason}",
            retest.who,
            parts=(),
        )
    differing = [kept.path for kept in plan.keeps if rule is TreeRule.SAME or not kept.explained]
    return Verdict(
        "tested tree",
        State.FAILED,
        f"what lands differs from what was run ({level}) in {_listed(differing)}; own that by"
        f" keep, bring it back by dataops backport {plan.target}, or run the merge by"
        " tested_tree: retest",
        who,
    )


def hotfix_verdict(
    plan: Plan, changed: Collection[str], *, allowed: bool, approved_by: Collection[str]
) -> Verdict | None:
    """Say whether work that the target got by itself would be lost; None when it has none.

    `changed` are the paths that its own commits changed, by the names that they have there.
    """
    if not plan.hotfixes:
        return None
    own_commits = {commit.id for commit in plan.hotfixes}
    lost = sorted(
        overwrite.path
        for overwrite in plan.overwrites
        # The upstream may have renamed the file: the lines tell whose they were.
        if overwrite.path in changed or any(line.commit in own_commits for line in overwrite.lines)
    )
    names = "; ".join(f"{c.id[:12]} {c.subject} ({c.author})" for c in plan.hotfixes[:_SHOWN])
    own = f"{plan.target}'s own {names}"
    who = (
        f"whoever may approve {plan.digest}, promote with --allow theirs, or bring it back by"
        f" dataops backport {plan.target}"
    )
    if not lost:
        return Verdict("hotfix", State.PASSED, f"{own} stays", who)
    if allowed:
        return Verdict("hotfix", State.PASSED, f"theirs was allowed over {own}", who)
    if approved_by:
        by = ", ".join(sorted(approved_by))
        return Verdict("hotfix", State.PASSED, f"{by} approved to overwrite {own}", who)
    return Verdict("hotfix", State.FAILED, f"would overwrite {own} in {_listed(lost)}", who)


def lint_verdict(
    findings: Sequence[Finding], target: str, warnings: Sequence[Finding] = ()
) -> Verdict:
    """Say whether what lands is well formed; `warnings` are only told."""
    who = f"whoever can mend it, or ignore the rule in {target}.gate.lint"
    if findings:
        return Verdict("lint", State.FAILED, _found([*findings, *warnings]), who)
    told = f"only warnings: {_found(warnings)}" if warnings else "nothing was found"
    return Verdict("lint", State.PASSED, told, who)


def _found(findings: Sequence[Finding]) -> str:
    return _listed([f"{f.path}:{f.line} {f.reason} ({f.rule})" for f in findings], "; ")


def overridden(verdict: Verdict, reason: str) -> Verdict:
    """Return a verdict as a person's recorded override leaves it."""
    if verdict.state is State.PASSED:
        return verdict
    return Verdict(
        verdict.condition,
        State.PASSED,
        f"overridden ({reason}): {verdict.reason}",
        verdict.who,
        parts=verdict.parts,
    )


def _listed(items: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return separator.join(items[:_SHOWN]) + more
