"""The job that says whether a commit would do at Tinybird, and the sensor that removes old branches."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

from datetime import timedelta

import dagster as dg
from pydantic import Field

from dataops_dagster import clock, execution, trial
from dataops_dagster.errors import DataOpsError
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.asking import MARGIN
from dataops_dagster.orchestration.ops import answered_errors
from dataops_dagster.orchestration.sensors import sensor_status
from dataops_dagster.platforms.tinybird import deploy_step
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of
from dataops_dagster.tinybird import branches, guard
from dataops_dagster.tinybird.client import Client
from dataops_dagster.trial import Trial, Way

REAP_SECONDS = 600


class TrialConfig(dg.Config):
    """Which workspaces to ask about which commit, and how."""

    workspaces: list[str] = Field(
        description="those at Tinybird to ask; production is only checked"
    )
    origin: str = Field(default="", description="whose commit; by default the first one's")
    commit: str = Field(default="", description="a commit of its branch, by default its head")
    branch: bool = Field(
        default=False, description="deploy to an ephemeral branch, and run the tests there"
    )


def trial_workspaces(project: Project) -> dict[str, Workspace]:
    """Return the workspaces at Tinybird."""
    return {name: w for name, w in project.workspaces.items() if w.tinybird}


def trial_job(project: Project) -> dg.JobDefinition:
    """Return the job that tries a commit, as `dataops tinybird ci` does."""

    @dg.op(
        name=naming.trial_op(project.name),
        description="Say whether a commit could be deployed; a branch that is made is destroyed.",
    )
    def try_commit(context: dg.OpExecutionContext, config: TrialConfig) -> None:
        with answered_errors():
            done = _tried(context, project, config)
        for found in done:
            context.log.info(f"{found.workspace}: {found.detail}")
        failed = [f"{found.workspace}: {found.detail}" for found in done if not found.passed]
        if failed:
            raise dg.Failure("; ".join(failed), allow_retries=False)

    @dg.job(
        name=naming.trial_job(project.name),
        description="Check a commit against workspaces at Tinybird, or try it in a branch.",
        executor_def=dg.in_process_executor,
        tags={"dagster/max_runtime": str(int(_longest(project).total_seconds()))},
    )
    def job() -> None:
        try_commit()

    return job


def _longest(project: Project) -> timedelta:
    deadlines = [deploy_step(w).deadline for w in trial_workspaces(project).values()]
    return sum(deadlines, MARGIN)


def _tried(context: dg.OpExecutionContext, project: Project, given: TrialConfig) -> list[Trial]:
    known = trial_workspaces(project)
    origin = given.origin or next(iter(given.workspaces), "")
    unknown = [name for name in given.workspaces if name not in known]
    if unknown or origin not in project.workspaces:
        raise dg.Failure(
            f"there is no workspace {', '.join(unknown) or origin or 'named'} at Tinybird\n"
            f"hint: name {', '.join(known)}",
            allow_retries=False,
        )
    store, source = store_of(project), project.workspaces[origin]
    trials = trial.perform(
        project,
        [known[name] for name in given.workspaces],
        origin=source,
        commit=execution.pin(project, source, given.commit or None, store=store),
        way=Way.BRANCH if given.branch else Way.CHECK,
        store=store,
        now=clock.now(),
        on_line=context.log.info,
    )
    return list(trials)


def branches_sensor(project: Project) -> dg.SensorDefinition:
    """Return the sensor that deletes branches of ours that dead runs left; it needs no run."""

    @dg.sensor(
        name=f"branches_{project.name}",
        description="Deletes our branches at Tinybird that are older than tinybird.branches.ttl.",
        minimum_interval_seconds=REAP_SECONDS,
        default_status=sensor_status(project),
    )
    def reap() -> dg.SkipReason:
        told = [
            f"{workspace.name}: {_reaped(project, workspace)}"
            for workspace in trial_workspaces(project).values()
            if workspace.tinybird and not workspace.tinybird.is_production
        ]
        return dg.SkipReason("\n".join(told))

    return reap


def _reaped(project: Project, workspace: Workspace) -> str:
    """Delete a workspace's old branches; returns which, or why not."""
    settings, where = workspace.tinybird, f"workspaces.{workspace.name}.tinybird"
    assert settings
    try:
        client = Client.of(settings, where)
        refusal = guard.wrong_workspace(settings, client.identity(), where)
        if refusal:
            return str(refusal)
        found = branches.reap(client, project.tinybird.branches, clock.now())
    except DataOpsError as error:
        return str(error)
    return ", ".join(f"deleted {branch.name}" for branch in found) or "no branch is over"
