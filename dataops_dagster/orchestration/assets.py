"""A project's assets: one a workspace, its head as data version, and one a deployment."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from dataops_dagster import execution, locks
from dataops_dagster.errors import DataOpsError
from dataops_dagster.folders import state_folder
from dataops_dagster.heads import look_up_all
from dataops_dagster.locks import Busy
from dataops_dagster.model import Outcome
from dataops_dagster.orchestration import deployments, metadata, naming, provenance, records
from dataops_dagster.orchestration.asking import note_refusal
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.orchestration.ops import (
    answered_errors,
    fetch_op,
    known_names,
    plan_op,
    publish_op,
)
from dataops_dagster.orchestration.products import made
from dataops_dagster.origins import origin_first, origins
from dataops_dagster.platforms import Purpose
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store, store_of


def source_assets(project: Project) -> dg.AssetsDefinition:
    """Return the workspaces without an upstream: observed, never materialized."""
    specs = [
        dg.AssetSpec(
            naming.asset_key(project.name, workspace.name),
            description=_description(workspace),
            group_name=project.name,
            kinds=_kinds(workspace),
            metadata=metadata.of_workspace(workspace),
        )
        for workspace in project.sources
    ]

    def observe(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        names = [key.path[-1] for key in context.selected_asset_keys]
        for name, head in look_up_all(project, names).items():
            with answered_errors():
                if isinstance(head, DataOpsError):
                    raise head
            if head.commit:
                yield dg.ObserveResult(
                    asset_key=naming.asset_key(project.name, name),
                    data_version=dg.DataVersion(head.commit),
                    metadata=metadata.page_of(project.workspaces[name], head.commit),
                )

    with warnings.catch_warnings():
        # Beta, and still the only way to give a source a version that its dependents go by.
        warnings.simplefilter("ignore", dg.BetaWarning)
        decorate = dg.multi_observable_source_asset(
            name=f"observe__{project.name}", specs=specs, can_subset=True
        )
    observed: dg.AssetsDefinition = decorate(observe)
    return observed


def target_asset(
    project: Project, target: Workspace, book_of: BookOf = InstanceBook
) -> dg.AssetsDefinition:
    """Return a workspace with an upstream: materialized by promoting into it."""
    fetch, plan, publish = (
        make(project, target, book_of) for make in (fetch_op, plan_op, publish_op)
    )

    def promoted(**upstreams: Any) -> Any:
        return publish(plan(fetch(**upstreams)))

    # Dagster takes a graph's inputs from the names of its function's parameters.
    promoted.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in target.upstream
        ]
    )
    decorate = dg.graph_asset(
        key=naming.asset_key(project.name, target.name),
        description=_description(target),
        group_name=project.name,
        kinds=_kinds(target),
        metadata=metadata.of_workspace(target),
        ins={
            name: dg.AssetIn(key=naming.asset_key(project.name, name), dagster_type=dg.Nothing)
            for name in target.upstream
        },
        code_version=provenance.CODE_VERSION,
    )
    made: dg.AssetsDefinition = decorate(promoted)
    return made


def decision_specs(project: Project) -> list[dg.AssetSpec]:
    """Return what people decide about targets: nothing makes it, so that only their runs tell it."""
    return [
        dg.AssetSpec(
            naming.decisions_key(project.name, target.name),
            deps=[naming.asset_key(project.name, target.name)],
            description=f"Approvals, holds and rejections of promotions into {target.name}.",
            group_name=project.name,
        )
        for target in project.targets
        if target.gate
    ]


class DeployConfig(dg.Config):
    """Which commits to deploy, by workspace (default: each one's head); `redeploy` repeats one."""

    commits: dict[str, str] = Field(default_factory=dict)
    redeploy: bool = False


def deployment_assets(project: Project) -> list[dg.AssetsDefinition]:
    """Return what the platforms serve: one asset a workspace that deploys, made by one op."""
    deploying = {w.name: w for w in project.workspaces.values() if w.deploy}
    if not deploying:
        return []
    first_to_last, before = origin_first(project), origins(project)
    specs = [
        dg.AssetSpec(
            naming.deployment_key(project.name, name),
            deps=[naming.asset_key(project.name, name)],
            # No dependency: each deployment of an origin would leave those who read it stale.
            description=f"What {name} serves in environment {workspace.environment}."
            + (f" Deployed after {', '.join(before[name])}." if before[name] else ""),
            group_name=project.name,
            kinds={workspace.deploy.platform} if workspace.deploy else set(),
            code_version=provenance.CODE_VERSION,
            metadata=metadata.of_platform(workspace),
            skippable=True,
        )
        for name, workspace in deploying.items()
    ]

    @dg.multi_asset(
        name=naming.deploy_op(project.name),
        specs=specs,
        can_subset=True,
        description="Deploy workspaces, each at one exact commit.",
    )
    def deploy(
        context: dg.AssetExecutionContext, config: DeployConfig
    ) -> Iterator[dg.MaterializeResult[Any]]:
        known_names(config.commits, deploying)
        selected = {key.path[-2] for key in context.selected_asset_keys}
        for workspace in (deploying[name] for name in first_to_last if name in selected):
            store = store_of(project)
            with answered_errors(), _alone(context, project, workspace):
                yield from _deploy(context, project, workspace, config, store)

    return [deploy]


@contextlib.contextmanager
def _alone(
    context: dg.AssetExecutionContext, project: Project, workspace: Workspace
) -> Iterator[None]:
    """Refuse a deployment while another one of the workspace is not recorded, on this machine."""
    path = state_folder() / project.name / workspace.name / "deployment.lock"
    with locks.held([path], context.run.run_id) as lock:
        if isinstance(lock, Busy):
            note_refusal(context.instance, context.run.run_id, lock.holder)
            raise dg.Failure(
                f"{workspace.name} is being deployed by Dagster run {lock.holder}",
                allow_retries=False,
            )
        yield


def _deploy(
    context: dg.AssetExecutionContext,
    project: Project,
    workspace: Workspace,
    config: DeployConfig,
    store: Store,
) -> Iterator[dg.MaterializeResult[Any]]:
    assert workspace.deploy
    commit = execution.pin(project, workspace, config.commits.get(workspace.name), store=store)
    key = naming.deployment_key(project.name, workspace.name)
    tag, value = naming.deployment_tag(project.name, workspace.name, commit)
    context.instance.add_run_tags(context.run.run_id, {tag: value})
    told: dict[str, Any] = {
        records.COMMIT: commit,
        records.ENVIRONMENT: workspace.environment,
    }
    served = deployments.deployed(context.instance, project.name, workspace.name)
    if served == commit and not config.redeploy:
        said = f"{workspace.name} serves {commit} already"
        context.log.info(said)
        told |= {records.OUTCOME: records.IDLE}
        # No result: the asset goes on to show what was last done.
        context.log_event(dg.AssetObservation(key, description=said, metadata=told))
        return
    result, task = execution.execute(
        project,
        workspace,
        workspace.deploy,
        commit=commit,
        run_id=context.run.run_id,
        store=store,
        on_line=context.log.info,
        purpose=Purpose.DEPLOY,
        approved=deployments.approved(context.instance, project.name, workspace),
    )
    for event in made(workspace.deploy, result, task):
        context.log_event(event)
    told |= {records.TREE: task.tree, records.RAN: result.ran, records.DETAIL: result.detail}
    told |= metadata.of_result(result)
    note_refusal(context.instance, context.run.run_id, result.refused_by)
    if result.outcome is Outcome.ERRORED:
        raise dg.Failure(
            f"the deployment of {workspace.name} at {commit[:12]} could not find out:"
            f" {result.detail}",
            allow_retries=False,
        )
    if result.waits_for:
        # Neither done nor failed: it is asked for again when that plan is approved.
        held = {**told, records.OUTCOME: records.HELD, records.PLAN: result.waits_for}
        context.log_event(dg.AssetObservation(key, metadata=held))
        raise dg.Failure(
            f"the deployment of {workspace.name} at {commit[:12]} waits: {result.detail}",
            allow_retries=False,
        )
    if not result.passed:
        # The platform's no is an answer, so that nobody asks the same again by itself.
        context.log_event(
            dg.AssetObservation(key, metadata={**told, records.OUTCOME: records.FAILED})
        )
        raise dg.Failure(
            f"the deployment of {workspace.name} at {commit[:12]} failed: {result.detail}",
            allow_retries=False,
        )
    yield dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(commit),
        metadata={**told, **metadata.page_of(workspace, commit), records.OUTCOME: "deployed"},
        # The head may be another one by now, or may have been all along.
        tags=provenance.input_tags(project, {workspace.name: commit}),
    )


def _kinds(workspace: Workspace) -> set[str]:
    steps = (workspace.run, workspace.deploy)
    return {"git", *(step.platform for step in steps if step and step.platform != "command")}


def _description(workspace: Workspace) -> str:
    text = (
        f"Workspace `{workspace.name}`: branch `{workspace.branch}` of its repository,"
        f" read in environment `{workspace.environment}`."
    )
    if workspace.upstream:
        gate = "behind a gate" if workspace.gate else "without a gate"
        named = "`, `".join(workspace.upstream)
        text += f"\n\nPromoted from `{named}` ({workspace.promote}), {gate}."
    return text
