"""Schedules for what happens by the clock; what they ask for is decided as the sensor does."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

import dagster as dg

from dataops_dagster import clock
from dataops_dagster.heads import look_up_all
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.asking import Wait
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.orchestration.look import Look
from dataops_dagster.orchestration.requests import BY_THE_CLOCK, decided, schedules_of
from dataops_dagster.origins import origins
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of

_JOBS = {"promote": naming.promote_job, "run": naming.run_job, "deploy": naming.deploy_job}


def schedules(project: Project, book_of: BookOf = InstanceBook) -> list[dg.ScheduleDefinition]:
    """Return one schedule for each promotion, deployment or run that has a cron schedule."""
    return [_schedule(project, verb, w, cron, book_of) for verb, w, cron in schedules_of(project)]


def _schedule(
    project: Project, verb: str, workspace: Workspace, cron: str, book_of: BookOf
) -> dg.ScheduleDefinition:
    enabled = project.automation.enabled

    @dg.schedule(
        name=f"{verb}_{project.name}__{workspace.name}",
        cron_schedule=cron,
        job_name=_JOBS[verb](project.name),
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if enabled else dg.DefaultScheduleStatus.STOPPED
        ),
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        before = origins(project).get(workspace.name, ())
        heads = look_up_all(project, (workspace.name, *workspace.upstream, *before))
        store, now = store_of(project), clock.now()
        look = Look(project, heads, context.instance, store, now, book_of)
        found = decided(BY_THE_CLOCK[verb], look, workspace)
        if isinstance(found, Wait):
            return dg.SkipReason(f"{workspace.name}: {found.reason}")
        return found

    return tick
