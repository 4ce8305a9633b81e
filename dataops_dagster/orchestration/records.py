"""What Dagster's instance remembers: evidence, decisions, deployments, heads; written by our ops.

A run tag only finds a run. Believed is the event that our own op wrote inside that run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from dataops_dagster import clock
from dataops_dagster.errors import ToolError
from dataops_dagster.gate import decisions as gate_decisions
from dataops_dagster.model import Book, Decision, DecisionKind, Evidence, Outcome
from dataops_dagster.orchestration import naming
from dataops_dagster.settings import Workspace
from dataops_dagster.settings_gate import Approvals

COMMIT, TREE, ENVIRONMENT = "dataops/commit", "dataops/tree", "dataops/environment"
RAN, DETAIL, OUTCOME = "dataops/ran", "dataops/detail", "dataops/outcome"
DIGEST, GATE = "dataops/digest", "dataops/gate"
DECISION, BY, REASON = "dataops/decision", "dataops/by", "dataops/reason"
HELD, FAILED = "held", "failed"
"""The outcome of a deployment that waits for an approval of its plan, and of one that was refused."""

IDLE = "nothing to do"
"""The outcome of a promotion or deployment that found all done. It is observed, so that the asset
goes on to show what was last done."""

PLAN, EXPIRES, LIFTS = "dataops/plan", "dataops/expires", "dataops/lifts"

_RECORDS = 20
"""How many of the newest materializations are looked through for one of our own."""

_RUNS = 1000
"""How many runs of the candidates are looked at; more of them means the newest do not pass."""


_PAGE, _PAGES = 1000, 20
"""How many decisions about one target are read: of more than that nobody knows which counts."""


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
        records = self.instance.get_run_records(
            dg.RunsFilter(tags={tags[0][0]: [value for _, value in tags]}),
            limit=_RUNS,
        )
        return [
            evidence
            for record in records
            for evidence in evidence_of(self.instance, record, project, workspace)
            if evidence.environment == environment and evidence.commit in commits
        ]

    def job_runs(
        self, project: str, workspace: str, environment: str, jobs: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return what ended runs of `jobs` say about what was deployed while they ran."""
        served = deployments(self.instance, project, workspace)
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
        return list(decisions_of(self.instance, project, target))


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


def deployments(instance: dg.DagsterInstance, project: str, workspace: str) -> Sequence[Deployment]:
    """Return the last deployments of a workspace by our op, newest first."""
    key = naming.deployment_key(project, workspace)
    tag = naming.deployment_tag(project, workspace, "")[0]
    done = [
        (entry.timestamp, entry.run_id, event.metadata)
        for record in instance.fetch_materializations(key, limit=_RECORDS).records
        if (entry := record.event_log_entry) and (event := entry.asset_materialization)
        if _by_deploy_op(instance, entry, project)
    ]
    observed = [
        (record.event_log_entry.run_id, seen.metadata)
        for record in instance.fetch_observations(key, limit=_RECORDS).records
        if (seen := record.event_log_entry.asset_observation)
        if _by_deploy_op(instance, record.event_log_entry, project)
    ]
    idle = {run_id for run_id, metadata in observed if text(metadata, OUTCOME) == IDLE}
    attempts = {run_id for _, run_id, _ in done} | {run_id for run_id, _ in observed}
    if not attempts:
        return []
    records = [
        *instance.get_run_records(dg.RunsFilter(run_ids=sorted(attempts))),
        # One whose worker died left no event.
        *instance.get_run_records(
            dg.RunsFilter(job_name=naming.deploy_job(project)), limit=_RECORDS
        ),
    ]
    tried = {
        record.dagster_run.run_id: record
        for record in records
        if (tag in record.dagster_run.tags or record.dagster_run.run_id in attempts)
        and record.dagster_run.run_id not in idle  # nothing was to do
    }.items()
    begins = [r.start_time or r.create_timestamp.timestamp() for _, r in tried]
    places = {run_id: record.storage_id for run_id, record in tried}
    return [
        Deployment(
            text(metadata, COMMIT),
            text(metadata, TREE),
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


def _ended_runs(
    instance: dg.DagsterInstance, job: str, since: float
) -> Iterator[tuple[dg.DagsterRun, int, float, float, Outcome]]:
    """Yield the ended runs of a job that began since then, with their place, begin and end."""
    location, _, name = job.rpartition(":")
    records = instance.get_run_records(
        dg.RunsFilter(
            job_name=name,
            statuses=list(_ENDED),
            created_after=datetime.fromtimestamp(since, timezone.utc),
        ),
        limit=_RUNS,
    )
    for record in records:
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


def decisions_of(instance: dg.DagsterInstance, project: str, target: str) -> Iterator[Decision]:
    """Yield what our own ops recorded as decided about a target, the oldest first."""
    key = naming.decisions_key(project, target)
    believed = {
        naming.decide_op(project): naming.decide_job(project),
        naming.rollback_op(project): naming.rollback_job(project),
    }
    jobs: dict[str, str] = {}
    cursor = None
    for _ in range(_PAGES):
        page = instance.fetch_observations(key, limit=_PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            entry, event = record.event_log_entry, record.event_log_entry.asset_observation
            if event is None or entry.step_key not in believed:
                continue
            if entry.run_id not in jobs:
                run = instance.get_run_by_id(entry.run_id)
                jobs[entry.run_id] = run.job_name if run else ""
            if jobs[entry.run_id] == believed[entry.step_key]:
                decision = _decision(entry, event.metadata, target)
                if decision:
                    yield decision
        if not page.has_more:
            return
        cursor = page.cursor
    raise ToolError(
        f"reading what was decided about {target}",
        None,
        f"there are more than {_PAGE * _PAGES} events under {key.to_user_string()}",
        hint="wipe that asset in Dagster's UI, and record anew what is to hold",
    )


def _decision(entry: dg.EventLogEntry, metadata: object, target: str) -> Decision | None:
    expires = text(metadata, EXPIRES)
    try:
        return Decision(
            # One run may reject a commit and what it became.
            id=entry.run_id,
            kind=DecisionKind(text(metadata, DECISION)),
            target=target,
            by=text(metadata, BY),
            reason=text(metadata, REASON),
            time=datetime.fromtimestamp(entry.timestamp, timezone.utc),
            expires=datetime.fromisoformat(expires) if expires else None,
            plan=text(metadata, PLAN),
            commit=text(metadata, COMMIT),
            tree=text(metadata, TREE),
            lifts=text(metadata, LIFTS),
        )
    except ValueError:
        return None


def evidence_of(
    instance: dg.DagsterInstance, record: dg.RunRecord, project: str, workspace: str
) -> Iterator[Evidence]:
    """Yield what our own run op recorded in a run; nothing else in the run is believed."""
    run = record.dagster_run
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
                digest=text(check.metadata, DIGEST),
                place=record.storage_id,
            )


def deployed(instance: dg.DagsterInstance, project: str, workspace: str) -> str | None:
    """Return the commit of a workspace's last successful deployment by our op."""
    key = naming.deployment_key(project, workspace)
    for record in instance.fetch_materializations(key, limit=_RECORDS).records:
        entry = record.event_log_entry
        if _by_deploy_op(instance, entry, project) and entry.asset_materialization:
            return text(entry.asset_materialization.metadata, COMMIT)
    return None


def approved_deployments(
    instance: dg.DagsterInstance, project: str, workspace: Workspace
) -> frozenset[str]:
    """Return the digests of the plans of deployments that people approve for a workspace now."""
    if workspace.gate is None:
        return frozenset()
    rule = workspace.gate.approvals or Approvals()
    decided = InstanceBook(instance).decisions(project, workspace.name)
    return gate_decisions.approved_deployments(decided, rule, now=clock.now())


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
    told = _told_of_deployment(instance, run, project, workspace)
    return any(text(metadata, OUTCOME) == FAILED for metadata in told)


def deployment_waits_for(
    instance: dg.DagsterInstance, run: dg.DagsterRun, project: str, workspace: str
) -> str:
    """Return the digest of the plan whose approval the run's deployment waits for, if it does."""
    told = _told_of_deployment(instance, run, project, workspace)
    return next((text(m, PLAN) for m in told if text(m, OUTCOME) == HELD), "")


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


def shown_gate(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, Any] | None:
    """Return the metadata that last showed where a target's gate stands."""
    for record in instance.fetch_observations(key, limit=_RECORDS).records:
        event = record.event_log_entry.asset_observation
        if event and set(event.metadata) == {GATE}:
            return event.metadata
    return None


def recorded_head(instance: dg.DagsterInstance, project: str, workspace: Workspace) -> str | None:
    """Return a workspace's head as Dagster knows it: observed for a source, else materialized."""
    return _recorded(instance, project, workspace).get(naming.DATA_VERSION_TAG)


def recorded_inputs(
    instance: dg.DagsterInstance, project: str, target: Workspace
) -> dict[str, str | None]:
    """Return the commit of each upstream that a target has, as Dagster knows it."""
    tags = _recorded(instance, project, target)
    return {name: tags.get(naming.input_tag(project, name)) for name in target.upstream}


def _recorded(
    instance: dg.DagsterInstance, project: str, workspace: Workspace
) -> Mapping[str, str]:
    key = naming.asset_key(project, workspace.name)
    fetch = instance.fetch_materializations if workspace.upstream else instance.fetch_observations
    for record in fetch(key, limit=1).records:
        entry = record.event_log_entry
        event = entry.asset_materialization or entry.asset_observation
        return (event.tags if event else None) or {}
    return {}


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


BookOf = Callable[[dg.DagsterInstance], Book]
"""Where evidence and decisions are found: `InstanceBook`, or what a user has beside it."""
