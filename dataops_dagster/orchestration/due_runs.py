"""Is a run due? A head, or a merge, that lacks evidence is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from dataops_dagster.gate.evidence import Witness, evidence_verdict
from dataops_dagster.heads import Head
from dataops_dagster.model import Evidence, Plan, State
from dataops_dagster.orchestration import deployments, naming
from dataops_dagster.orchestration.asking import MARGIN, NOT_THERE, Decision, Wait
from dataops_dagster.orchestration.look import Look, latest
from dataops_dagster.planning import is_on
from dataops_dagster.settings import Project, Workspace


def run(look: Look, workspace: Workspace) -> Decision:
    """Ask for a run of a head that lacks evidence; what deploys is deployed first."""
    assert workspace.run
    project, commit = look.project, look.head(workspace).commit
    if commit is None:
        return NOT_THERE
    found = look.evidence(workspace, commit)
    if (last := latest(found)) and not _proves_too_little(look, workspace, commit, found):
        return Wait(f"its run at {commit[:12]} {last.outcome.value}", settled=True)
    if workspace.deploy and commit != deployments.deployed(
        look.instance, project.name, workspace.name
    ):
        return Wait(f"is run when {commit[:12]} is deployed")
    return look.runs.ask(
        naming.run_tag(project.name, workspace.name, commit, workspace.environment),
        key=f"run {workspace.name} {commit} {workspace.environment}",
        what=f"the run at {commit[:12]}",
        limit=workspace.run.deadline + MARGIN,
        told={evidence.run_id for evidence in look.told(workspace, commit)},
        request=lambda **more: _request(
            project, workspace, {"commits": {workspace.name: commit}}, **more
        ),
    )


def scheduled_run(look: Look, workspace: Workspace) -> Decision:
    """Ask for a run of the head, whether or not it was run before."""
    assert workspace.run
    commit = look.head(workspace).commit
    if commit is None:
        return NOT_THERE
    tag = naming.run_tag(look.project.name, workspace.name, commit, workspace.environment)
    limit = workspace.run.deadline + MARGIN
    busy = look.runs.busy(tag, f"the run at {commit[:12]}", limit)
    commits = {"commits": {workspace.name: commit}}
    return busy or _request(look.project, workspace, commits, tags={tag[0]: tag[1]})


def retest(look: Look, target: Workspace, plan: Plan) -> Decision:
    """Ask for a run of the merge itself, in its upstream's environment."""
    upstream = look.project.workspaces[plan.upstream]
    assert upstream.run
    return look.runs.ask(
        naming.run_tag(look.project.name, upstream.name, plan.commit, upstream.environment),
        key=f"retest {target.name} {plan.commit} {upstream.environment}",
        what=f"the run of the merge {plan.commit[:12]}",
        limit=upstream.run.deadline + MARGIN,
        request=lambda **more: _request(
            look.project, upstream, {"retests": {target.name: plan.upstream_commit}}, **more
        ),
    )


def _proves_too_little(
    look: Look, workspace: Workspace, commit: str, found: Sequence[Evidence]
) -> bool:
    """Say whether a target that lacks the commit waits for more, or for younger, evidence."""
    witness = Witness(workspace.name, workspace.environment, {commit: found})
    for target in look.project.targets_of(workspace):
        base = look.heads[target.name]
        if target.gate is None or not isinstance(base, Head):
            continue
        verdict = evidence_verdict(commit, witness, target.gate, now=look.now)
        if verdict.state is State.PENDING and not (
            base.commit and look.store.has(base.commit) and is_on(look.store, base.commit, commit)
        ):
            return True
    return False


def _request(
    project: Project, workspace: Workspace, config: Mapping[str, object], **more: Any
) -> dg.RunRequest:
    key = naming.asset_key(project.name, workspace.name)
    return dg.RunRequest(
        job_name=naming.run_job(project.name),
        asset_selection=[],
        asset_check_keys=[dg.AssetCheckKey(key, naming.RUN_CHECK)],
        run_config={"ops": {naming.run_op(project.name): {"config": config}}},
        **more,
    )
