"""Is a rollback due? Asked for when what was promoted last failed: once, then people decide."""

from __future__ import annotations

import dagster as dg

from dataops_dagster.git import Access
from dataops_dagster.heads import Head
from dataops_dagster.model import Outcome
from dataops_dagster.orchestration import deployments, naming
from dataops_dagster.orchestration.asking import ATTEMPTS, NOT_THERE, PROMOTION, Decision, Wait
from dataops_dagster.orchestration.look import Look, latest
from dataops_dagster.planning import rollback_of
from dataops_dagster.settings import Workspace


def rollback(look: Look, target: Workspace) -> Decision:
    """Ask for the rollback of a promotion whose deployment, or run, failed: once."""
    head = look.head(target)
    commit = head.commit
    if commit is None:
        return NOT_THERE
    if head.release is None:
        return Wait("is no release, so nothing is rolled back", settled=True)
    failure = _failure(look, target, commit)
    if not failure:
        return Wait("has nothing to roll back", settled=True)
    if is_rolled_back(look, target):
        return Wait(f"was rolled back already, and {failure}: it waits for a person")
    project = look.project.name
    config = {
        "target": target.name,
        "undo": commit,
        "by": "auto_rollback",
        "reason": failure,
        "reject": True,
    }
    return look.runs.ask(
        naming.rollback_tag(project, target.name, commit),
        key=f"rollback {target.name} {commit}",
        what=f"the rollback of {commit[:12]}",
        limit=PROMOTION,
        answered=lambda run: "was done" if run.is_success else "",
        request=lambda **more: dg.RunRequest(
            job_name=naming.rollback_job(project),
            run_config={"ops": {naming.rollback_op(project): {"config": config}}},
            **more,
        ),
    )


def is_rolled_back(look: Look, target: Workspace) -> bool:
    """Say whether the head is what a rollback made."""
    head = look.heads[target.name]
    if not isinstance(head, Head) or head.commit is None or head.release is None:
        return False
    access = Access.of(look.project, target)
    look.store.fetch(access, target.branch, head.commit, without_blobs=True)
    trailers = look.store.trailers(head.commit)
    found = rollback_of(look.store, head.commit, trailers, project=look.project, target=target)
    return found is not None


def _failure(look: Look, target: Workspace, commit: str) -> str:
    """Say what failed after the promotion that made this head, if anything did."""
    project = look.project.name
    key, value = naming.deployment_tag(project, target.name, commit)
    for record in look.instance.get_run_records(dg.RunsFilter(tags={key: value}), limit=ATTEMPTS):
        run = record.dagster_run
        if deployments.failed(look.instance, run, project, target.name):
            return f"its deployment failed, run {run.run_id}"
    last = latest(look.evidence(target, commit))
    if last and last.outcome is Outcome.FAILED:
        return f"its run failed, run {last.run_id}"
    return ""
