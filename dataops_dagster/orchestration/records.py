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
            dg.RunsFilter(
                tags={tags[0][0]: [value for _, value in tags]},
                statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
            ),
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
    if run.job_name not in (naming.run_job(project), naming.ALL_ASSETS_JOB):
        return
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        check = entry.dagster_event and entry.dagster_event.event_specific_data
        if (
            isinstance(check, dg.AssetCheckEvaluation)
            and entry.step_key == naming.run_op(project)
            and check.asset_key == naming.asset_key(project, workspace)
            and check.check_name == naming.RUN_CHECK
            # A run that reports success and then fails was not a success.
            and (not check.passed or run.status is dg.DagsterRunStatus.SUCCESS)
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
    found = instance.fetch_materializations(key, limit=1).records
    if not found or not found[0].event_log_entry.run_id:
        return None  # never deployed, or a runless event that anybody may have written
    materialization = found[0].event_log_entry.asset_materialization
    return text(materialization.metadata, COMMIT) if materialization else None


def deployment_failed(
    instance: dg.DagsterInstance, run: dg.DagsterRun, project: str, workspace: str
) -> bool:
    """Say whether the run ended with the platform's no, rather than without an answer."""
    key = naming.deployment_key(project, workspace)
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    return any(e.asset_observation and e.asset_observation.asset_key == key for e in entries)


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


def is_promoting(instance: dg.DagsterInstance, project: str) -> bool:
    """Say whether a run that promotes may be under way."""
    jobs = (naming.promote_job(project), naming.ALL_ASSETS_JOB)
    return any(
        instance.get_run_records(
            dg.RunsFilter(
                job_name=job,
                statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
            ),
            limit=1,
        )
        for job in jobs
    )


def text(metadata: object, key: str) -> str:
    """Return a metadata entry as text; empty when it is not there."""
    value = metadata.get(key) if isinstance(metadata, dict) else None
    return str(value.value) if isinstance(value, dg.MetadataValue) else ""
