"""The job that records what people decide, and the one that rolls back."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

import time
from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from dataops_dagster import clock, execution, promotion, rollback
from dataops_dagster.errors import ConfigError
from dataops_dagster.gate.decisions import in_force, lifted
from dataops_dagster.heads import look_up_all
from dataops_dagster.model import (
    DecisionKind,
    NothingToDo,
    Promoted,
    Raced,
    Ready,
)
from dataops_dagster.orchestration import metadata, naming, provenance, records
from dataops_dagster.orchestration.book import InstanceBook
from dataops_dagster.orchestration.ops import answered_errors, refuse
from dataops_dagster.plan import is_digest
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of
from dataops_dagster.text import one_line


class DecideConfig(dg.Config):
    """One decision about a target: approve, hold, reject or lift."""

    decision: str = Field(description="approve, hold, reject or lift")
    target: str
    by: str = Field(description="who decides")
    reason: str = ""
    plan: str = Field(default="", description="the digest of the plan to approve")
    commit: str = Field(default="", description="the upstream's commit to reject, by its full id")
    lifts: str = Field(
        default="", description="the hold or rejection to lift, by its id; all holds by default"
    )
    expires: str = Field(default="", description="a time, such as 2026-12-24T18:00+01:00, or 7d")


class RollbackConfig(dg.Config):
    """Which target to roll back, to which release, and why."""

    target: str
    to: str | None = Field(default=None, description="the release's tag; by default the one before")
    by: str
    reason: str
    undo: str | None = Field(default=None, description="do it only if this commit is the head")
    reject: bool = Field(default=False, description="reject what is undone, under any commit")


def decide_job(project: Project) -> dg.JobDefinition:
    """Return the job that records a decision; who may launch it may decide."""

    @dg.op(
        name=naming.decide_op(project.name),
        description="Record an approval, a hold, a rejection, or that one is lifted.",
    )
    def decide(context: dg.OpExecutionContext, config: DecideConfig) -> None:
        with answered_errors():
            target = _target(project, config)
            for told in _decided(context, project, target, config):
                record(context, project, target, told)
                context.log.info(f"{told[records.BY]}: {config.decision} {target.name}")

    @dg.job(
        name=naming.decide_job(project.name),
        description="Record what a person decides about a target.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        decide()

    return job


def record(
    context: dg.OpExecutionContext, project: Project, target: Workspace, told: dict[str, str]
) -> None:
    """Write a decision, as `records` reads it, into the run of one of our own jobs."""
    key = naming.decisions_key(project.name, target.name)
    context.log_event(
        dg.AssetObservation(
            key,
            description=f"{told[records.BY]}: {told[records.DECISION]}",
            metadata={name: dg.MetadataValue.text(value) for name, value in told.items()},
        )
    )


def _target(project: Project, given: DecideConfig) -> Workspace:
    # A rollback holds a target without a gate, too; all else only a gate asks for.
    is_lift = given.decision == DecisionKind.LIFT.value
    known = {w.name: w for w in project.targets if w.gate or is_lift}
    if given.target not in known:
        raise ConfigError.at(
            f"target {given.target}",
            "is no workspace with a gate",
            f"name one of {', '.join(known)}" if known else "add gate: to a workspace",
        )
    return known[given.target]


def _decided(
    context: dg.OpExecutionContext, project: Project, target: Workspace, given: DecideConfig
) -> Sequence[dict[str, str]]:
    """Return what to record; raises `ConfigError`."""
    mistake = ConfigError.at
    by, reason = one_line(given.by), one_line(given.reason)
    if not by:
        raise mistake("by", "is empty", "say who decides")
    try:
        kind = DecisionKind(given.decision)
    except ValueError:
        known = ", ".join(kind.value for kind in DecisionKind)
        raise mistake("decision", "is unknown", f"name one of {known}") from None
    told = {records.DECISION: kind.value, records.BY: by, records.REASON: reason}
    if given.expires:
        told[records.EXPIRES] = clock.later(given.expires).isoformat()
    match kind:
        case DecisionKind.APPROVE:
            if not is_digest(given.plan):
                raise mistake(
                    "plan", "is no plan's digest", "copy it from `dataops plan`: sha256:…"
                )
            return [told | {records.PLAN: given.plan}]
        case DecisionKind.HOLD | DecisionKind.REJECT if not reason:
            raise mistake("reason", "is empty", "say why; others will ask")
        case DecisionKind.HOLD:
            return [told]
        case DecisionKind.REJECT:
            return [told | _rejected(project, target, given.commit)]
    known_ids = _lifted(context, project, target, given.lifts)
    return [told | {records.LIFTS: id_} for id_ in known_ids]


def _rejected(project: Project, target: Workspace, commit: str) -> dict[str, str]:
    store = store_of(project)
    for workspace in (*project.upstreams_of(target), target):
        try:
            execution.pin(project, workspace, commit or "?", store=store)
        except ConfigError:
            continue
        return {records.COMMIT: commit, records.TREE: store.commit(commit).tree}
    named = " or ".join((*target.upstream, target.name))
    raise ConfigError.at(
        "commit",
        f"is not a commit on a branch of {named}",
        "name the full id of a commit that is on one",
    )


def _lifted(
    context: dg.OpExecutionContext, project: Project, target: Workspace, wanted: str
) -> list[str]:
    """Return the ids of what is lifted: all holds, or what `wanted` begins the id of."""
    decisions = InstanceBook(context.instance).decisions(project.name, target.name)
    now = clock.now()
    holds = [d.id for d in in_force(decisions, DecisionKind.HOLD, now)]
    rejections = [d.id for d in in_force(decisions, DecisionKind.REJECT, now)]
    found = rollback.look(project, target, store=store_of(project))
    undone = found.undone
    if undone and undone.commit not in lifted(decisions):
        holds.append(undone.commit)
    approvals = [d.id for d in in_force(decisions, DecisionKind.APPROVE, now)]
    known = list(dict.fromkeys((*holds, *rejections, *approvals)))
    chosen = [id_ for id_ in known if wanted and id_.startswith(wanted)]
    if not wanted:
        chosen = holds
    if not chosen:
        named = ", ".join(id_[:12] for id_ in known)
        raise ConfigError.at(
            "lifts",
            f"there is no hold or rejection {wanted}".rstrip() + f" of {target.name}",
            f"name one of {named}" if named else "nothing holds it",
        )
    return chosen


def rollback_job(project: Project) -> dg.JobDefinition:
    """Return the job that rolls a target back; the deployment follows by the sensor."""

    @dg.op(
        name=naming.rollback_op(project.name),
        description="Publish a new commit with an earlier release's tree; automation then waits.",
    )
    def roll_back(context: dg.OpExecutionContext, config: RollbackConfig) -> None:
        targets = {w.name: w for w in project.targets}
        if config.target not in targets:
            raise dg.Failure(
                f"target: there is no {config.target}\nhint: name one of {', '.join(targets)}",
                allow_retries=False,
            )
        with answered_errors():
            _roll_back(context, project, targets[config.target], config)

    @dg.job(
        name=naming.rollback_job(project.name),
        description="Bring a target back to an earlier release; automation then waits for a person.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        roll_back()

    return job


def _roll_back(
    context: dg.OpExecutionContext, project: Project, target: Workspace, given: RollbackConfig
) -> None:
    key, value = naming.rollback_tag(project.name, target.name, given.undo or "head")
    context.instance.add_run_tags(context.run.run_id, {key: value})
    store, begun = store_of(project), time.monotonic()
    ready = rollback.consider(
        project,
        target,
        store=store,
        to=given.to,
        by=given.by,
        reason=given.reason,
        now=clock.now(),
    )
    if isinstance(ready, NothingToDo):
        context.log.info(f"nothing to do: {target.name} is what it was then")
        return
    if not isinstance(ready, Ready):
        raise refuse(ready)
    if given.undo is not None and ready.plan.base != given.undo:
        context.log.info(f"nothing to do: {target.name} has moved on from {given.undo}")
        return
    if given.reject:
        # Before the rollback: a crash in between leaves nothing that lets it in again.
        for told in _undone(project, target, given):
            record(context, project, target, told)
    answer = promotion.publish(project, ready, store=store, now=clock.now())
    if isinstance(answer, Raced):
        raise dg.RetryRequested(max_retries=3, seconds_to_wait=1)
    if not isinstance(answer, Promoted):
        assert not isinstance(answer, NothingToDo)
        raise refuse(answer)
    seconds = time.monotonic() - begun
    context.log.info(f"rolled back: release {answer.release.tag}")
    heads = look_up_all(project, [target.name, *target.upstream])
    inputs = provenance.arrived(project, target, heads, store=store)
    context.log_event(
        dg.AssetMaterialization(
            naming.asset_key(project.name, target.name),
            description=f"Rolled back by {one_line(given.by)}: {one_line(given.reason)}",
            tags={
                naming.DATA_VERSION_TAG: ready.plan.commit,
                **provenance.tags(project, inputs),
            },
            metadata={
                **metadata.of_plan(ready.plan),
                **metadata.of_release(answer.release),
                **metadata.of_landing(target, ready.plan, now=clock.now(), seconds=seconds),
                records.OUTCOME: "rolled back",
            },
        )
    )


def _undone(project: Project, target: Workspace, given: RollbackConfig) -> list[dict[str, str]]:
    """Return the rejections of a head and of the upstream's commit that it came from."""
    store = store_of(project)
    found = rollback.look(project, target, store=store)
    assert found.head.commit
    head = store.commit(found.head.commit)
    # Its last parent is the upstream's; a fast-forward is the upstream's commit itself.
    ids = dict.fromkeys((head.id, head.parents[-1] if len(head.parents) > 1 else head.id))
    return [
        {
            records.DECISION: DecisionKind.REJECT.value,
            records.BY: one_line(given.by),
            records.REASON: one_line(given.reason),
            records.COMMIT: commit.id,
            records.TREE: commit.tree,
        }
        for commit in store.commits(list(ids))
    ]
