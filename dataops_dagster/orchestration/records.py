"""What Dagster's instance remembers: evidence, deployments, heads; read here, written by our ops.

A run tag only finds a run. Believed is the event that our own op wrote inside that run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import dagster as dg

from dataops_dagster.model import Evidence, Outcome
from dataops_dagster.orchestration import naming
from dataops_dagster.settings import Workspace

COMMIT, TREE, ENVIRONMENT = "dataops/commit", "dataops/tree", "dataops/environment"
RAN, DETAIL, OUTCOME = "dataops/ran", "dataops/detail", "dataops/outcome"

_RECORDS = 20
"""How many of the newest materializations are looked through for one of our own."""

_RUNS = 1000
"""How many runs of the candidates are looked at; more of them means the newest do not pass."""


@dataclass(frozen=True)
class InstanceEvidence:
    """Finds evidence in a Dagster instance; implements `model.EvidenceBook`."""

    instance: dg.DagsterInstance

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return all evidence for `commits` of the workspace in the environment."""
        tags = [naming.run_tag(project, workspace, commit, environment) for commit in commits]
        if not tags:
            return []
        records = self.instance.get_run_records(
            dg.RunsFilter(tags={tags[0][0]: [value for _, value in tags]}),
            limit=_RUNS,
        )
        return [
            evidence
            for record in records
            for evidence in evidence_of(self.instance, record.dagster_run, project, workspace)
            if evidence.environment == environment and evidence.commit in commits
        ]


def evidence_of(
    instance: dg.DagsterInstance, run: dg.DagsterRun, project: str, workspace: str
) -> Iterator[Evidence]:
    """Yield what our own run op recorded in a run; nothing else in the run is believed."""
    # A job that promotes may be launched with the asset's check, as Materialize in the UI is.
    jobs = (naming.run_job(project), naming.promote_job(project), naming.ALL_ASSETS_JOB)
    if run.job_name not in jobs:
        return
    entries = instance.all_logs(
        run.run_id,
        of_type={dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.STEP_SUCCESS},
    )
    # A step that reports success and then fails was none; other steps of the run do not matter.
    ended_well = any(
        entry.step_key == naming.run_op(project)
        and entry.dagster_event
        and entry.dagster_event.event_type is dg.DagsterEventType.STEP_SUCCESS
        for entry in entries
    )
    for entry in entries:
        check = entry.dagster_event and entry.dagster_event.event_specific_data
        if (
            isinstance(check, dg.AssetCheckEvaluation)
            and entry.step_key == naming.run_op(project)
            and check.asset_key == naming.asset_key(project, workspace)
            and check.check_name == naming.RUN_CHECK
            and (not check.passed or ended_well)
        ):
            yield Evidence(
                workspace=workspace,
                commit=text(check.metadata, COMMIT),
                tree=text(check.metadata, TREE),
                environment=text(check.metadata, ENVIRONMENT),
                outcome=Outcome.PASSED if check.passed else Outcome.FAILED,
                run_id=run.run_id,
                time=datetime.fromtimestamp(entry.timestamp, timezone.utc),
                ran=text(check.metadata, RAN),
                detail=text(check.metadata, DETAIL),
            )


def deployed(instance: dg.DagsterInstance, project: str, workspace: str) -> str | None:
    """Return the commit of a workspace's last successful deployment by our op."""
    key = naming.deployment_key(project, workspace)
    for record in instance.fetch_materializations(key, limit=_RECORDS).records:
        entry = record.event_log_entry
        if _by_deploy_op(instance, entry, project) and entry.asset_materialization:
            return text(entry.asset_materialization.metadata, COMMIT)
    return None


def _by_deploy_op(instance: dg.DagsterInstance, entry: dg.EventLogEntry, project: str) -> bool:
    """Say whether our own op wrote an event; anybody may have written any other."""
    if entry.step_key != naming.deploy_op(project):
        return False
    run = instance.get_run_by_id(entry.run_id)
    return run is not None and run.job_name in (naming.deploy_job(project), naming.ALL_ASSETS_JOB)


def deployment_failed(
    instance: dg.DagsterInstance, run: dg.DagsterRun, project: str, workspace: str
) -> bool:
    """Say whether the run ended with the platform's no, rather than without an answer."""
    key = naming.deployment_key(project, workspace)
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    return any(
        entry.asset_observation
        and entry.asset_observation.asset_key == key
        and entry.step_key == naming.deploy_op(project)
        for entry in entries
    )


def recorded_head(instance: dg.DagsterInstance, project: str, workspace: Workspace) -> str | None:
    """Return a workspace's head as Dagster knows it: observed for a source, else materialized."""
    key = naming.asset_key(project, workspace.name)
    fetch = instance.fetch_materializations if workspace.upstream else instance.fetch_observations
    found = fetch(key, limit=1).records
    if not found:
        return None
    entry = found[0].event_log_entry
    event = entry.asset_materialization or entry.asset_observation
    return (event.tags or {}).get(naming.DATA_VERSION_TAG) if event else None


def unfinished(instance: dg.DagsterInstance) -> Sequence[dg.RunRecord]:
    """Return the runs that are waiting or under way, newest first."""
    return instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED), limit=_RUNS)


_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def text(metadata: object, key: str) -> str:
    """Return a metadata entry as text; empty when it is not there."""
    value = metadata.get(key) if isinstance(metadata, dict) else None
    return str(value.value) if isinstance(value, dg.MetadataValue) else ""
