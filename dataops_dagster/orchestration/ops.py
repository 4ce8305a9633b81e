"""The ops of a promotion (fetch, plan, publish), and what all ops of ours share."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg
from pydantic import Field
from typing_extensions import assert_never

from dataops_dagster import clock, execution, promotion
from dataops_dagster.errors import DataOpsError, ToolError
from dataops_dagster.gate.verdicts import lines
from dataops_dagster.heads import Head, Heads, look_up_all
from dataops_dagster.model import (
    Allowance,
    Book,
    Conflicted,
    Considered,
    Effects,
    Held,
    NothingToDo,
    Override,
    Plan,
    Promoted,
    Raced,
    Ready,
    Rejected,
)
from dataops_dagster.orchestration import deployments, metadata, naming, provenance, records
from dataops_dagster.orchestration.book import BookOf
from dataops_dagster.plan import is_digest
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store, store_of
from dataops_dagster.text import one_line

# What one op tells the next is a few words; the user's own I/O manager, which may be a
# warehouse, is no place for them.
IO_MANAGER_KEY = "dataops_io"


class PromoteConfig(dg.Config):
    """What a person may say about one promotion; every field has a default."""

    commit: str | None = None
    dry_run: bool = False
    override_gate: bool = False
    reason: str = ""
    plan: str | None = Field(default=None, description="publish the plan of this digest only")
    allow: list[str] = Field(
        default_factory=list,
        description="allow this once: unrelated (history), rewritten (upstream), theirs (over what"
        " the target got by itself)",
    )


@contextlib.contextmanager
def answered_errors() -> Iterator[None]:
    """Turn our errors into Dagster's: retried when time may heal it, else a failure in words."""
    try:
        yield
    except DataOpsError as error:
        if isinstance(error, ToolError) and error.retryable:
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=2) from error
        raise dg.Failure(str(error), allow_retries=False) from None


def known_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a run configuration that names a workspace which is not there: a typing error."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise dg.Failure(
            f"commits: there is no workspace {', '.join(unknown)} here\n"
            f"hint: name {', '.join(sorted(known))}",
            allow_retries=False,
        )


def refuse(answer: Held | Rejected | Conflicted | Raced) -> dg.Failure:
    """Return the failure that tells a refusal, its reason and what would change it."""
    match answer:
        case Held(target, verdicts, _):
            return dg.Failure(
                "\n".join([f"not yet: the gate of {target} is closed", *lines(verdicts)]),
                metadata=metadata.of_verdicts(verdicts),
                allow_retries=False,
            )
        case Rejected(_, reason, hint):
            return dg.Failure(f"{reason}\nhint: {hint}", allow_retries=False)
        case Conflicted():
            return dg.Failure(
                f"{answer.reason}\nhint: {answer.hint}",
                metadata=metadata.of_conflicts(answer),
                allow_retries=False,
            )
        case Raced(_, _):
            return dg.Failure(answer.reason)
        case _:
            assert_never(answer)


def fetch_op(project: Project, target: Workspace, book_of: BookOf) -> dg.OpDefinition:
    """Return the op that looks up the heads, asks the gate, and pins the commit to promote."""
    upstreams = project.upstreams_of(target)
    named = ", ".join(target.upstream)

    @dg.op(
        name=naming.promotion_op("fetch", project.name, target.name),
        description=f"Look up {named} and {target.name}, ask the gate, pin a commit.",
        ins={name: dg.In(dg.Nothing) for name in target.upstream},
        out=dg.Out(dict, io_manager_key=IO_MANAGER_KEY),
    )
    def fetch(context: dg.OpExecutionContext, config: PromoteConfig) -> dict[str, Any]:
        if config.override_gate and not one_line(config.reason):
            raise dg.Failure(
                "override_gate needs a reason, which is recorded in the release\n"
                "hint: set reason: to why the gate may be passed over",
                allow_retries=False,
            )
        unknown = sorted(set(config.allow) - {allowance.value for allowance in Allowance})
        if unknown:
            known = ", ".join(allowance.value for allowance in Allowance)
            raise dg.Failure(
                f"allow: there is no {', '.join(unknown)} to allow\nhint: name {known}",
                allow_retries=False,
            )
        if config.plan is not None and not is_digest(config.plan):
            raise dg.Failure(
                "plan: is no plan's digest\nhint: copy it from a dry run: sha256:…",
                allow_retries=False,
            )
        pinned = {
            "commit": config.commit,
            "dry_run": config.dry_run,
            "override": one_line(config.reason) if config.override_gate else None,
            "plan": config.plan,
            "allow": config.allow,
        }
        heads = look_up_all(project, [*target.upstream, target.name])
        for upstream in upstreams:
            _observe(context, project, upstream, heads)
        match _consider(project, target, pinned, book_of(context.instance), heads):
            case Ready(plan):
                commit, source = plan.upstream_commit, plan.upstream
            case NothingToDo(_, _, commit):
                source = named
            case refusal:
                raise refuse(refusal)
        if not config.dry_run:
            key, value = naming.promotion_tag(project.name, target.name, commit)
            context.instance.add_run_tags(context.run.run_id, {key: value})
        context.log.info(f"{source} at {commit} is to be promoted into {target.name}")
        return {**pinned, "commit": commit}

    return fetch


def plan_op(project: Project, target: Workspace, book_of: BookOf) -> dg.OpDefinition:
    """Return the op that computes and shows the plan; a dry run ends with it."""

    @dg.op(
        name=naming.promotion_op("plan", project.name, target.name),
        description="Compute what the promotion would do; a dry run ends here.",
        out=dg.Out(dict, is_required=False, io_manager_key=IO_MANAGER_KEY),
    )
    def plan(context: dg.OpExecutionContext, pinned: dict[str, Any]) -> Iterator[dg.Output[Any]]:
        match _consider(project, target, pinned, book_of(context.instance)):
            case Ready(made, verdicts):
                told = {
                    **metadata.of_plan(made),
                    **metadata.of_verdicts(verdicts),
                    **metadata.of_effects(_foreseen(context, project, target, made)),
                }
                context.log.info(f"{made.equality.value}; plan {made.digest}")
            case NothingToDo(_, head, _):
                told = {records.COMMIT: head, records.OUTCOME: records.IDLE}
                context.log.info(f"nothing to do: {target.name} at {head} has all of it")
            case refusal:
                raise refuse(refusal)
        if not pinned["dry_run"]:
            yield dg.Output(pinned, metadata=told)
            return
        context.log.info("a dry run: nothing is published")
        key = naming.asset_key(project.name, target.name)
        context.log_event(
            dg.AssetObservation(key, description="The plan of a dry run.", metadata=told)
        )

    return plan


def publish_op(project: Project, target: Workspace, book_of: BookOf) -> dg.OpDefinition:
    """Return the op that asks the gate again and moves the target: the one critical section."""

    @dg.op(
        name=naming.promotion_op("publish", project.name, target.name),
        description=f"Ask the gate again, then move {target.name} to the planned commit.",
        out=dg.Out(dg.Nothing, is_required=False),
        pool=naming.pool(project.name, target.name),
    )
    def publish(
        context: dg.OpExecutionContext, pinned: dict[str, Any]
    ) -> Iterator[dg.MaterializeResult[Any]]:
        store, begun = store_of(project), time.monotonic()
        with answered_errors():
            answer = promotion.promote(
                project,
                target,
                store=store,
                book=book_of(context.instance),
                now=clock.now(),
                digest=pinned["plan"],
                **_said(pinned),
            )
        match answer:
            case Promoted(ready, release):
                plan, seconds = ready.plan, time.monotonic() - begun
                context.log.info(f"promoted: {target.name} is at {plan.commit}, {release.tag}")
                # What was merged is the pinned commit, also when the upstream's head has moved on.
                inputs = _inputs(project, target, store, {plan.upstream: pinned["commit"]})
                yield dg.MaterializeResult(
                    data_version=dg.DataVersion(plan.commit),
                    metadata={
                        **metadata.of_plan(plan),
                        **metadata.of_verdicts(ready.verdicts),
                        **metadata.of_release(release),
                        **metadata.of_landing(target, plan, now=clock.now(), seconds=seconds),
                        records.OUTCOME: "promoted",
                    },
                    tags=provenance.input_tags(project, inputs),
                )
            case NothingToDo(_, head, _):
                yield from _show_idle(context, project, target, head=head, store=store)
            case refusal:
                raise refuse(refusal)

    return publish


def _inputs(
    project: Project, target: Workspace, store: Store, known: dict[str, str]
) -> dict[str, str]:
    """Return which commit of each upstream the target now has; `known` says it of one."""
    if len(target.upstream) == len(known):
        return known
    heads = look_up_all(project, [target.name, *target.upstream])
    return provenance.arrived(project, target, heads, store=store) | known


def _show_idle(
    context: dg.OpExecutionContext, project: Project, target: Workspace, *, head: str, store: Store
) -> Iterator[dg.MaterializeResult[Any]]:
    """Show that a target has all of its upstream: a result only where Dagster does not know it yet.

    Else the asset goes on to show what landed last, and nothing downstream takes it for news.
    """
    heads = look_up_all(project, [target.name, *target.upstream])
    inputs = provenance.arrived(project, target, heads, store=store)
    found = heads[target.name]
    at = found if isinstance(found, Head) and found.commit == head else None
    told = {records.COMMIT: head, records.OUTCOME: records.IDLE}
    told |= metadata.named(at.release if at else None)
    is_known = records.recorded_head(context.instance, project.name, target) == head
    if at and at.release and not is_known:
        # The run that landed it died before it told.
        told |= metadata.of_landed(provenance.landed(project, target, at, store=store))
        told |= metadata.page_of(target, head)
    if not is_known or records.recorded_inputs(context.instance, project.name, target) != inputs:
        tags = provenance.input_tags(project, inputs)
        yield dg.MaterializeResult(data_version=dg.DataVersion(head), metadata=told, tags=tags)
        return
    said = f"Nothing to do: {target.name} has all of {', '.join(target.upstream)}."
    key = naming.asset_key(project.name, target.name)
    context.log_event(dg.AssetObservation(key, description=said, metadata=told))


def _observe(
    context: dg.OpExecutionContext, project: Project, upstream: Workspace, heads: Heads
) -> None:
    """Record a source's head as found, before the publishing step starts and notes its inputs."""
    head = heads[upstream.name]
    if not upstream.upstream and not isinstance(head, DataOpsError) and head.commit:
        context.log_event(
            dg.AssetObservation(
                naming.asset_key(project.name, upstream.name),
                tags={naming.DATA_VERSION_TAG: head.commit},
                metadata=metadata.page_of(upstream, head.commit),
            )
        )


def _consider(
    project: Project,
    target: Workspace,
    pinned: dict[str, Any],
    book: Book,
    heads: Heads | None = None,
) -> Considered:
    store = store_of(project)
    with answered_errors():
        considered = promotion.consider(
            project,
            target,
            store=store,
            book=book,
            now=clock.now(),
            heads=heads,
            **_said(pinned),
        )
    return promotion.agreed(considered, pinned["plan"])


def _foreseen(
    context: dg.OpExecutionContext, project: Project, target: Workspace, plan: Plan
) -> Effects | None:
    """Return what deploying the planned commit would do; shown, and never waited for."""
    approved = deployments.approved(context.instance, project.name, target)
    return execution.foresee(project, target, plan, store=store_of(project), approved=approved)


def _said(pinned: dict[str, Any]) -> dict[str, Any]:
    """Return what a person said about this promotion."""
    return {
        "commit": pinned["commit"],
        "override": Override(pinned["override"]) if pinned["override"] else None,
        "allow": tuple(map(Allowance, pinned["allow"])),
    }
