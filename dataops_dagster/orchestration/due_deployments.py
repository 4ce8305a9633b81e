"""Is a deployment due? A head that its platform does not serve is asked for, once a commit.

Origins come first: who reads what another workspace shares waits until that one serves its head.
"""

from __future__ import annotations

import dagster as dg

from dataops_dagster.orchestration import deployments, due_rollbacks, naming
from dataops_dagster.orchestration.asking import ATTEMPTS, MARGIN, NOT_THERE, Decision, Wait
from dataops_dagster.orchestration.look import Look
from dataops_dagster.settings import Workspace


def deployment(look: Look, workspace: Workspace) -> Decision:
    """Ask for the deployment of a head that is not served; a target's must be a release."""
    assert workspace.deploy
    head, project = look.head(workspace), look.project.name
    commit = head.commit
    if commit is None:
        return NOT_THERE
    if deployments.deployed(look.instance, project, workspace.name) == commit:
        return Wait(f"serves its head {commit[:12]}", settled=True)
    if workspace.upstream and head.release is None:
        return Wait(
            f"its head {commit[:12]} is not a release; deploy it by hand if it should be",
            settled=True,
        )
    if (behind := _behind(look, workspace)) and not due_rollbacks.is_rolled_back(look, workspace):
        return behind
    tag = naming.deployment_tag(project, workspace.name, commit)
    config = {"commits": {workspace.name: commit}}
    return look.runs.ask(
        tag,
        key=f"deploy {workspace.name} {commit}",
        told=_approved_since(look, tag, workspace),
        what=f"the deployment of {commit[:12]}",
        limit=workspace.deploy.deadline + MARGIN,
        answered=lambda run: _answer(look, run, workspace),
        request=lambda **more: dg.RunRequest(
            job_name=naming.deploy_job(project),
            asset_selection=[naming.deployment_key(project, workspace.name)],
            run_config={"ops": {naming.deploy_op(project): {"config": config}}},
            **more,
        ),
    )


def brought_back(look: Look, target: Workspace) -> Decision:
    """Ask for the deployment of what a rollback made, whoever deploys otherwise."""
    if due_rollbacks.is_rolled_back(look, target):
        return deployment(look, target)
    return Wait("is deployed by hand, or by the clock", settled=True)


def _behind(look: Look, workspace: Workspace) -> Wait | None:
    """Say which origin does not serve its head yet, if one does not."""
    for name in look.origins[workspace.name]:
        commit = look.head(look.project.workspaces[name]).commit
        if commit is None or commit != deployments.deployed(look.instance, look.project.name, name):
            lacks = f"does not serve its head {commit[:12]} yet" if commit else "has no branch yet"
            return Wait(f"is deployed after {name}, which {lacks}: it uses what that one shares")
    return None


def _approved_since(look: Look, tag: tuple[str, str], workspace: Workspace) -> set[str]:
    """Return the runs whose deployment waited for a plan that is approved now."""
    runs = look.instance.get_run_records(dg.RunsFilter(tags={tag[0]: tag[1]}), limit=ATTEMPTS * 10)
    waited = {r.dagster_run.run_id: _waits_for(look, r.dagster_run, workspace) for r in runs}
    if not any(waited.values()):
        return set()
    approved = deployments.approved(look.instance, look.project.name, workspace)
    return {run_id for run_id, digest in waited.items() if digest in approved}


def _waits_for(look: Look, run: dg.DagsterRun, workspace: Workspace) -> str:
    return deployments.waits_for(look.instance, run, look.project.name, workspace.name)


def _answer(look: Look, run: dg.DagsterRun, workspace: Workspace) -> str:
    if run.is_success:
        return "was done, and another commit deployed by hand since"
    if digest := _waits_for(look, run, workspace):
        return f"waits for dataops approve {workspace.name} --plan {digest}"
    failed = deployments.failed(look.instance, run, look.project.name, workspace.name)
    return "failed" if failed else ""
