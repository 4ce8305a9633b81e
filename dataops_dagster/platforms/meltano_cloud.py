"""The `meltano_cloud` platform: a deployment by Meltano Cloud, formerly Matatika, over its API.

It deploys the head of a workspace's repository, and takes no commit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.meltano_cloud.api import Api
from dataops_dagster.meltano_cloud.following import follow
from dataops_dagster.meltano_cloud.identity import judge
from dataops_dagster.meltano_cloud.model import CloudWorkspace, Job
from dataops_dagster.model import Outcome
from dataops_dagster.platforms.task import Log, Result, Task
from dataops_dagster.settings_steps import MeltanoCloudStep


def execute(step: MeltanoCloudStep, task: Task, on_line: Callable[[str], None]) -> Result:
    """Deploy the workspace that is this task's, and no other one.

    Raises `ConfigError` if the one there has another repository, branch or active environment.
    """
    api = Api.of(step)
    workspace = task.settings.workspaces[task.workspace]
    standing = judge(task.settings, workspace, api.workspaces())
    if standing.problems or standing.cloud is None:
        raise ConfigError(standing.problems)
    for reminder in standing.by_hand:
        on_line(reminder)
    return deploy(api, standing.cloud, deadline=step.deadline, on_line=on_line, commit=task.commit)


def deploy(
    api: Api,
    cloud: CloudWorkspace,
    *,
    deadline: timedelta,
    on_line: Callable[[str], None],
    commit: str | None = None,
) -> Result:
    """Deploy a workspace's head, and follow the job; it is stopped at the deadline, and with us.

    That the head is `commit` is believed unless the job says otherwise.
    """
    job = api.deploy(cloud.id)
    on_line(f"Meltano Cloud deploys “{cloud.name}”: job {job.id}")
    log = Log(on_line)
    job = _follow(api, job, deadline, log.add)
    log.close()
    outcome, ending = _judge(api, job, deadline, commit)
    detail = f"job {job.id} {ending}"
    if outcome is not Outcome.PASSED and log.last:
        detail = f"{detail}: {' / '.join(log.last)}"
    return Result(outcome, f"Meltano Cloud: deploy {cloud.id}", detail)


def _follow(api: Api, job: Job, deadline: timedelta, on_line: Callable[[str], None]) -> Job:
    try:
        return follow(api, job, seconds=deadline.total_seconds(), on_line=on_line)
    except BaseException as error:
        if not isinstance(error, Exception):  # somebody cancels us, as by Ctrl-C
            _stop(api, job)
        raise


def _judge(api: Api, job: Job, deadline: timedelta, commit: str | None) -> tuple[Outcome, str]:
    """Say what a job means for the deployment, and how it ended, in words."""
    if job.outcome is None:
        return Outcome.FAILED, f"{_stop(api, job)} at its deadline of {deadline}"
    if job.outcome is Outcome.PASSED and commit and job.commit not in (None, commit):
        # Somebody pushed meanwhile, past the gate.
        return Outcome.ERRORED, f"says that it deployed {job.commit} instead"
    code = "" if job.exit_code is None else f", exit code {job.exit_code}"
    return job.outcome, f"ended as {job.status}{code}"


def _stop(api: Api, job: Job) -> str:
    try:
        api.stop(job.id)
    except ToolError:
        return "could not be stopped"
    return "was stopped"
