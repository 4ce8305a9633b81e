"""What Dagster's instance remembers: evidence, decisions, deployments, heads; written by our ops.

A run tag only finds a run. Believed is the event that our own op wrote inside that run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from dataops_dagster.errors import ToolError
from dataops_dagster.model import Decision, DecisionKind, Evidence, Outcome
from dataops_dagster.orchestration import naming
from dataops_dagster.settings import Workspace

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

RECORDS = 20
"""How many of the newest materializations are looked through for one of our own."""

RUNS = 1000
"""How many runs of the candidates are looked at; more of them means the newest do not pass."""


_PAGE, _PAGES = 1000, 20
"""How many decisions about one target are read: of more than that nobody knows which counts."""


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


def shown_gate(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, Any] | None:
    """Return the metadata that last showed where a target's gate stands."""
    for record in instance.fetch_observations(key, limit=RECORDS).records:
        event = record.event_log_entry.asset_observation
        if event and set(event.metadata) == {GATE}:
            return event.metadata
    return None


def shown_checks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> Mapping[dg.AssetCheckKey, dg.AssetCheckEvaluation]:
    """Return what checks last said; nothing of one that is being executed."""
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    said = {key: record.evaluation for key, record in found.items()}
    # Whatever Dagster's types say: of what is only planned it returns the plan.
    return {key: e for key, e in said.items() if isinstance(e, dg.AssetCheckEvaluation)}


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
    return instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED), limit=RUNS)


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
