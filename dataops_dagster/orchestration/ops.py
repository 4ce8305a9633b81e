"""The ops of a promotion (fetch, plan, publish), and what all ops of ours share."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import dagster as dg
from typing_extensions import assert_never

from dataops_dagster import promotion
from dataops_dagster.errors import DataOpsError, ToolError
from dataops_dagster.folders import cache_folder
from dataops_dagster.git import Store
from dataops_dagster.model import (
    Conflicted,
    Held,
    NothingToDo,
    Override,
    Project,
    Promoted,
    Raced,
    Ready,
    Rejected,
    Workspace,
)
from dataops_dagster.orchestration import metadata, naming
from dataops_dagster.orchestration.records import InstanceEvidence

# What one op tells the next is a few words; the user's own I/O manager, which may be a
# warehouse, is no place for them.
IO_MANAGER_KEY = "dataops_io"


class PromoteConfig(dg.Config):
    """What a person may say about one promotion; every field has a default."""

    commit: str | None = None
    dry_run: bool = False
    override_gate: bool = False
    reason: str = ""


@contextlib.contextmanager
def answered_errors() -> Iterator[None]:
    """Turn our errors into Dagster's: retried when time may heal it, else a failure in words."""
    try:
        yield
    except DataOpsError as error:
        if isinstance(error, ToolError) and error.retryable:
            raise dg.RetryRequested(max_retries=3, seconds_to_wait=2) from error
        raise dg.Failure(str(error), allow_retries=False) from None


def refuse(answer: Held | Rejected | Conflicted | Raced) -> dg.Failure:
    """Return the failure that tells a refusal, its reason and what would change it."""
    match answer:
        case Held(target, verdicts):
            return dg.Failure(
                f"not yet: the gate of {target} is closed. It {answer.reason}",
                metadata=metadata.of_verdicts(verdicts),
                allow_retries=False,
            )
        case Rejected(_, reason, hint):
            return dg.Failure(f"{reason}\nhint: {hint}", allow_retries=False)
        case Conflicted(target, _, paths):
            return dg.Failure(
                f"{answer.reason}\nhint: make the same change on both sides, or delete the paths"
                f" in {target} too",
                metadata={"dataops/conflicts": metadata.table(("path",), ((p,) for p in paths))},
                allow_retries=False,
            )
        case Raced(target, _):
            return dg.Failure(f"{target} was moved by others time and again; nothing was written")
        case _:
            assert_never(answer)


def promotion_ops(
    project: Project, target: Workspace
) -> tuple[dg.OpDefinition, dg.OpDefinition, dg.OpDefinition]:
    """Return a target's three ops; each passes on what the last one found."""
    upstream = project.upstream_of(target)

    def name(step: str) -> str:
        return naming.promotion_op(step, project.name, target.name)

    def book(context: dg.OpExecutionContext) -> InstanceEvidence:
        return InstanceEvidence(context.instance)

    @dg.op(
        name=name("fetch"),
        description=f"Look up the heads of {upstream.name} and {target.name}, pin a commit.",
        ins={"upstream": dg.In(dg.Nothing)},
        out=dg.Out(dict, io_manager_key=IO_MANAGER_KEY),
    )
    def fetch(context: dg.OpExecutionContext, config: PromoteConfig) -> dict[str, Any]:
        if config.override_gate and not config.reason.strip():
            raise dg.Failure(
                "override_gate needs a reason, which is recorded in the release\n"
                "hint: set reason: to why the gate may be passed over",
                allow_retries=False,
            )
        override = Override(config.reason.strip()) if config.override_gate else None
        with answered_errors(), Store(cache_folder(), project.name) as store:
            heads = promotion.look_up_all(project, [upstream.name, target.name])
            considered = promotion.consider(
                project,
                target,
                store=store,
                book=book(context),
                commit=config.commit,
                override=override,
                heads=heads,
            )
        match considered:
            case Ready(plan):
                commit = plan.upstream_commit
            case NothingToDo(_, _, commit):
                pass
            case _:
                raise refuse(considered)
        key, value = naming.promotion_tag(project.name, target.name, commit)
        context.instance.add_run_tags(context.run_id, {key: value})
        if not upstream.upstream:
            # Before the publishing step starts, so that Dagster notes what it really used.
            context.log_event(
                dg.AssetObservation(
                    naming.asset_key(project.name, upstream.name),
                    tags={naming.DATA_VERSION_TAG: commit},
                )
            )
        context.log.info(f"{upstream.name} at {commit} is to be promoted into {target.name}")
        reason = override.reason if override else None
        return {"commit": commit, "dry_run": config.dry_run, "override": reason}

    @dg.op(
        name=name("plan"),
        description="Compute what the promotion would do; a dry run ends here.",
        out=dg.Out(dict, is_required=False, io_manager_key=IO_MANAGER_KEY),
    )
    def plan(context: dg.OpExecutionContext, pinned: dict[str, Any]) -> Iterator[dg.Output[Any]]:
        with answered_errors(), Store(cache_folder(), project.name) as store:
            considered = promotion.consider(
                project,
                target,
                store=store,
                book=book(context),
                commit=pinned["commit"],
                override=_override(pinned),
            )
        match considered:
            case Ready(made, verdicts):
                told = {**metadata.of_plan(made), **metadata.of_verdicts(verdicts)}
                for key in ("dataops/upstream_commit", "dataops/equality", "dataops/plan"):
                    context.log.info(f"{key.removeprefix('dataops/')}: {told[key]}")
            case NothingToDo(_, head, _):
                told = {"dataops/head": head}
                context.log.info(f"nothing to do: {target.name} at {head} has all of it")
            case _:
                raise refuse(considered)
        if pinned["dry_run"]:
            context.log.info("a dry run: nothing is published")
            context.log_event(
                dg.AssetObservation(
                    naming.asset_key(project.name, target.name),
                    description="The plan of a dry run.",
                    metadata=told,
                )
            )
            return
        yield dg.Output(pinned, metadata=told)

    @dg.op(
        name=name("publish"),
        description=f"Ask the gate again, then move {target.name} to the planned commit.",
        out=dg.Out(dg.Nothing),
        pool=f"dataops/{project.name}/{target.name}",
    )
    def publish(
        context: dg.OpExecutionContext, pinned: dict[str, Any]
    ) -> Iterator[dg.MaterializeResult[Any]]:
        with answered_errors(), Store(cache_folder(), project.name) as store:
            answer = promotion.promote(
                project,
                target,
                store=store,
                book=book(context),
                now=datetime.now(timezone.utc),
                commit=pinned["commit"],
                override=_override(pinned),
            )
        match answer:
            case Promoted(ready, release):
                head = ready.plan.commit
                told = {
                    **metadata.of_plan(ready.plan),
                    **metadata.of_verdicts(ready.verdicts),
                    **metadata.of_release(release),
                    "dataops/outcome": "promoted",
                }
                context.log.info(f"promoted: {target.name} is at {head}, release {release.tag}")
            case NothingToDo(_, head, _):
                told = {"dataops/commit": head, "dataops/outcome": "nothing to do"}
            case _:
                raise refuse(answer)
        # Dagster reads an input's version when the step starts; what was really merged is the
        # pinned commit, also when the upstream's head has moved on since.
        upstream_key = "/".join(naming.asset_key(project.name, upstream.name).path)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(head),
            metadata=told,
            tags={f"{naming.INPUT_DATA_VERSION_TAG}/{upstream_key}": pinned["commit"]},
        )

    return fetch, plan, publish


def _override(pinned: dict[str, Any]) -> Override | None:
    return Override(pinned["override"]) if pinned["override"] else None
