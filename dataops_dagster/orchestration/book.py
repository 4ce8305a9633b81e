"""Where a gate finds evidence and decisions: in Dagster's instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import dagster as dg

from dataops_dagster.model import Book, Decision, Evidence, Outcome
from dataops_dagster.orchestration import deployments, naming, records


@dataclass(frozen=True)
class InstanceBook:
    """Finds evidence and decisions in a Dagster instance; implements `model.Book`."""

    instance: dg.DagsterInstance

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return all evidence for `commits` of the workspace in the environment."""
        tags = [naming.run_tag(project, workspace, commit, environment) for commit in commits]
        if not tags:
            return []
        found = self.instance.get_run_records(
            dg.RunsFilter(tags={tags[0][0]: [value for _, value in tags]}),
            limit=records.RUNS,
        )
        return [
            evidence
            for record in found
            for evidence in records.evidence_of(self.instance, record, project, workspace)
            if evidence.environment == environment and evidence.commit in commits
        ]

    def job_runs(
        self, project: str, workspace: str, environment: str, jobs: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return what ended runs of `jobs` say about what was deployed while they ran."""
        served = deployments.served(self.instance, project, workspace)
        if not served:
            return []
        since = served[-1].begin
        return [
            Evidence(
                workspace=workspace,
                commit=deployment.commit,
                tree=deployment.tree,
                environment=environment,
                outcome=outcome,
                run_id=run.run_id,
                time=datetime.fromtimestamp(end, timezone.utc),
                ran=f"job {run.job_name}",
                detail=f"job {run.job_name} ended with {run.status.value}",
                place=place,
            )
            for job in jobs
            for run, place, begin, end, outcome in _ended_runs(self.instance, job, since)
            for deployment in served
            if deployment.begin <= begin <= end <= deployment.end
            and deployment.place < place < deployment.next_place
        ]

    def decisions(self, project: str, target: str) -> Sequence[Decision]:
        """Return all that was decided about the target, the oldest first."""
        return list(records.decisions_of(self.instance, project, target))


def _ended_runs(
    instance: dg.DagsterInstance, job: str, since: float
) -> Iterator[tuple[dg.DagsterRun, int, float, float, Outcome]]:
    """Yield the ended runs of a job that began since then, with their place, begin and end."""
    location, _, name = job.rpartition(":")
    found = instance.get_run_records(
        dg.RunsFilter(
            job_name=name,
            statuses=list(_ENDED),
            created_after=datetime.fromtimestamp(since, timezone.utc),
        ),
        limit=records.RUNS,
    )
    for record in found:
        run = record.dagster_run
        origin = run.remote_job_origin
        if location and (origin is None or origin.location_name != location):
            continue
        if record.start_time and record.end_time:
            status = _ENDED[run.status]
            yield run, record.storage_id, record.start_time, record.end_time, status


_ENDED = {
    dg.DagsterRunStatus.SUCCESS: Outcome.PASSED,
    dg.DagsterRunStatus.FAILURE: Outcome.FAILED,
}


BookOf = Callable[[dg.DagsterInstance], Book]
"""Where evidence and decisions are found: `InstanceBook`, or what a user has beside it."""
