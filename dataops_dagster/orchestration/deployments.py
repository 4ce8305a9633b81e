"""What Dagster's instance remembers of deployments, as far as our own op wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dataops_dagster import clock
from dataops_dagster.gate import decisions as gate_decisions
from dataops_dagster.orchestration import naming, records
from dataops_dagster.settings import Workspace
from dataops_dagster.settings_gate import Approvals


@dataclass(frozen=True)
class Deployment:
    """What a platform served, from the end of its deployment to the begin of the next attempt.

    `begin` and `end` are in UTC seconds; `place` and `next_place` say the same by which runs were asked
    for before which: a clock may be put back.
    """

    commit: str
    tree: str
    begin: float
    end: float
    place: int
    next_place: float


def served(instance: dg.DagsterInstance, project: str, workspace: str) -> Sequence[Deployment]:
    """Return the last deployments of a workspace by our op, newest first."""
    key = naming.deployment_key(project, workspace)
    tag = naming.deployment_tag(project, workspace, "")[0]
    done = [
        (entry.timestamp, entry.run_id, event.metadata)
        for record in instance.fetch_materializations(key, limit=records.RECORDS).records
        if (entry := record.event_log_entry) and (event := entry.asset_materialization)
        if _by_deploy_op(instance, entry, project)
    ]
    observed = [
        (record.event_log_entry.run_id, seen.metadata)
        for record in instance.fetch_observations(key, limit=records.RECORDS).records
        if (seen := record.event_log_entry.asset_observation)
        if _by_deploy_op(instance, record.event_log_entry, project)
    ]
    idle = {
        run_id
        for run_id, metadata in observed
        if records.text(metadata, records.OUTCOME) == records.IDLE
    }
    attempts = {run_id for _, run_id, _ in done} | {run_id for run_id, _ in observed}
    if not attempts:
        return []
    found = [
        *instance.get_run_records(dg.RunsFilter(run_ids=sorted(attempts))),
        # One whose worker died left no event.
        *instance.get_run_records(
            dg.RunsFilter(job_name=naming.deploy_job(project)), limit=records.RECORDS
        ),
    ]
    tried = {
        record.dagster_run.run_id: record
        for record in found
        if (tag in record.dagster_run.tags or record.dagster_run.run_id in attempts)
        and record.dagster_run.run_id not in idle  # nothing was to do
    }.items()
    begins = [r.start_time or r.create_timestamp.timestamp() for _, r in tried]
    places = {run_id: record.storage_id for run_id, record in tried}
    return [
        Deployment(
            records.text(metadata, records.COMMIT),
            records.text(metadata, records.TREE),
            begin=time,
            end=_next(begins, time),
            place=places[run_id],
            next_place=_next(places.values(), places[run_id]),
        )
        for time, run_id, metadata in done
        if run_id in places
    ]


def _next(numbers: Iterable[float], after: float) -> float:
    return min((number for number in numbers if number > after), default=float("inf"))


def deployed(instance: dg.DagsterInstance, project: str, workspace: str) -> str | None:
    """Return the commit of a workspace's last successful deployment by our op."""
    key = naming.deployment_key(project, workspace)
    for record in instance.fetch_materializations(key, limit=records.RECORDS).records:
        entry = record.event_log_entry
        if _by_deploy_op(instance, entry, project) and entry.asset_materialization:
            return records.text(entry.asset_materialization.metadata, records.COMMIT)
    return None


def approved(instance: dg.DagsterInstance, project: str, workspace: Workspace) -> frozenset[str]:
    """Return the digests of the plans of deployments that people approve for a workspace now."""
    if workspace.gate is None:
        return frozenset()
    rule = workspace.gate.approvals or Approvals()
    decided = list(records.decisions_of(instance, project, workspace.name))
    return gate_decisions.approved_deployments(decided, rule, now=clock.now())


def _by_deploy_op(instance: dg.DagsterInstance, entry: dg.EventLogEntry, project: str) -> bool:
    """Say whether our own op wrote an event; anybody may have written any other."""
    if entry.step_key != naming.deploy_op(project):
        return False
    run = instance.get_run_by_id(entry.run_id)
    return run is not None and run.job_name in (naming.deploy_job(project), naming.ALL_ASSETS_JOB)


def failed(instance: dg.DagsterInstance, run: dg.DagsterRun, project: str, workspace: str) -> bool:
    """Say whether the run ended with the platform's no, rather than without an answer."""
    told = _told_of_deployment(instance, run, project, workspace)
    return any(records.text(metadata, records.OUTCOME) == records.FAILED for metadata in told)


def waits_for(
    instance: dg.DagsterInstance, run: dg.DagsterRun, project: str, workspace: str
) -> str:
    """Return the digest of the plan whose approval the run's deployment waits for, if it does."""
    told = _told_of_deployment(instance, run, project, workspace)
    return next(
        (
            records.text(m, records.PLAN)
            for m in told
            if records.text(m, records.OUTCOME) == records.HELD
        ),
        "",
    )


def _told_of_deployment(
    instance: dg.DagsterInstance, run: dg.DagsterRun, project: str, workspace: str
) -> list[Mapping[str, Any]]:
    """Return what our op observed in a run about a deployment that was not done."""
    key = naming.deployment_key(project, workspace)
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    return [
        entry.asset_observation.metadata
        for entry in entries
        if entry.asset_observation
        and entry.asset_observation.asset_key == key
        and entry.step_key == naming.deploy_op(project)
    ]
