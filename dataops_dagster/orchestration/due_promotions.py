"""Is a promotion due? What the gate would let land now is asked for; all else is a reason."""

from __future__ import annotations

import dagster as dg
from typing_extensions import assert_never

from dataops_dagster.gate.verdicts import lines
from dataops_dagster.judging import is_waiting_for_retest
from dataops_dagster.model import Conflicted, Held, NothingToDo, Ready, Refusal, Rejected
from dataops_dagster.orchestration import due_runs, naming
from dataops_dagster.orchestration.asking import PROMOTION, Decision, Wait
from dataops_dagster.orchestration.look import Look
from dataops_dagster.planning import is_on
from dataops_dagster.settings import Workspace


def promotion(look: Look, target: Workspace) -> Decision:
    """Ask for the promotion that the gate would let land now."""
    considered = look.consider(target)
    if not isinstance(considered, Ready):
        return _not_now(look, target, considered)
    plan, project = considered.plan, look.project.name
    graph = naming.promotion_graph(project, target.name)
    op = naming.promotion_op("fetch", project, target.name)
    # What was promoted before, and rolled back, a person let in again by lifting the hold.
    again = plan.base and is_on(look.store, plan.base, plan.upstream_commit)
    return look.runs.ask(
        naming.promotion_tag(project, target.name, plan.upstream_commit),
        # The plan is part of the key: another head of the target is another promotion.
        key=f"promote {target.name} {plan.digest}",
        what=f"the promotion of {plan.upstream_commit[:12]}",
        answered=lambda run: (
            "was done, and the target set back since" if run.is_success and not again else ""
        ),
        limit=PROMOTION,
        request=lambda **more: dg.RunRequest(
            job_name=naming.promote_job(project),
            asset_selection=[naming.asset_key(project, target.name)],
            asset_check_keys=[],  # else Dagster adds the asset's checks: a run is apart
            run_config={
                "ops": {graph: {"ops": {op: {"config": {"commit": plan.upstream_commit}}}}}
            },
            **more,
        ),
    )


def standing(look: Look, target: Workspace) -> Decision:
    """Say where the gate of a target stands that people, or the clock, promote into."""
    considered = look.consider(target)
    if isinstance(considered, Ready):
        return Wait(f"could be promoted into now; that is left to {target.promote}")
    return _not_now(look, target, considered)


def _not_now(look: Look, target: Workspace, considered: NothingToDo | Refusal) -> Decision:
    match considered:
        case NothingToDo():
            return Wait(f"has all of {', '.join(target.upstream)}", settled=True)
        case Held(_, verdicts, plan):
            if plan and is_waiting_for_retest(verdicts, plan, target.gate):
                return due_runs.retest(look, target, plan)
            return Wait("\n".join(["not yet", *lines(verdicts, depth=1)]))
        case Conflicted(_, _, _):
            return Wait(f"refused: {considered.reason}")
        case Rejected(_, reason, hint):
            return Wait(f"refused: {reason} (hint: {hint})")
        case _:
            assert_never(considered)
