"""May a promotion land? Pure: verdicts from facts; nothing is looked up here."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_dagster.model import Evidence, Outcome, State, Verdict

Proof = tuple[str, Evidence]
"""A commit and the run that proved it."""


def newest_proven(commits: Sequence[str], evidence: Sequence[Evidence]) -> Proof | None:
    """Return the newest of `commits` (newest first) whose latest run succeeded, with that run.

    Not the tip: a busy upstream would otherwise starve its target. A later failure of the same
    commit revokes what an earlier success proved.
    """
    latest = _latest(evidence)
    for commit in commits:
        found = latest.get(commit)
        if found and found.outcome is Outcome.PASSED:
            return commit, found
    return None


def evidence_verdict(
    commits: Sequence[str], evidence: Sequence[Evidence], *, upstream: str, environment: str
) -> Verdict:
    """Say whether a run of the upstream proved one of `commits` (newest first), and which."""
    proof = newest_proven(commits, evidence)
    if proof:
        commit, run = proof
        return Verdict(
            "evidence",
            State.PASSED,
            f"{upstream} at {commit[:12]} passed in environment {environment} (run {run.run_id})",
            who="nobody needs to",
        )
    failed = _latest(evidence).get(commits[0])
    others = f" and {len(commits) - 1} more" if len(commits) > 1 else ""
    wanted = f"waits for a successful run of {upstream} in environment {environment}"
    if failed is None:
        return Verdict(
            "evidence",
            State.PENDING,
            f"{wanted}: no run is recorded for {commits[0][:12]}{others}",
            who=f"whoever may run {upstream}",
        )
    return Verdict(
        "evidence",
        State.FAILED,
        f"{wanted}: its run at {failed.commit[:12]} failed"
        f"{f' ({failed.detail})' if failed.detail else ''}, run {failed.run_id}",
        who=f"whoever can mend {upstream}",
    )


def overridden(verdict: Verdict, reason: str) -> Verdict:
    """Return the verdict as a person's recorded override leaves it."""
    return Verdict(
        verdict.condition, State.PASSED, f"overridden ({reason}): {verdict.reason}", who=verdict.who
    )


def is_open(verdicts: Sequence[Verdict]) -> bool:
    """Say whether every condition passed."""
    return all(verdict.state is State.PASSED for verdict in verdicts)


def _latest(evidence: Sequence[Evidence]) -> dict[str, Evidence]:
    # Of two at one moment the failure counts: in doubt the gate stays closed.
    in_order = sorted(evidence, key=lambda e: (e.time, e.outcome is Outcome.FAILED))
    return {found.commit: found for found in in_order}
