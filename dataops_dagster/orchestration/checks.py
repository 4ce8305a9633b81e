"""The check `run` of each workspace that can be run: its evaluation is the evidence."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from dataops_dagster import clock, execution
from dataops_dagster.gate.evidence import what_ran
from dataops_dagster.model import Book, Outcome
from dataops_dagster.orchestration import metadata, naming, records
from dataops_dagster.orchestration.asking import note_refusal
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.orchestration.ops import answered_errors, known_names
from dataops_dagster.orchestration.products import made
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store, store_of


class RunConfig(dg.Config):
    """Which commits to run, by workspace; a workspace's head when it is not named.

    `retests` names targets, and the commit of the upstream that is to be promoted into each: the
    merge itself is run then, in the upstream's environment, before it lands.
    """

    commits: dict[str, str] = Field(default_factory=dict)
    retests: dict[str, str] = Field(default_factory=dict)


def run_checks(project: Project, book_of: BookOf = InstanceBook) -> list[dg.AssetChecksDefinition]:
    """Return one check a workspace that can be run, all made by one op."""
    runnable = {w.name: w for w in project.workspaces.values() if w.run}
    if not runnable:
        return []
    specs = [
        dg.AssetCheckSpec(
            naming.RUN_CHECK,
            asset=naming.asset_key(project.name, name),
            description=f"A run of {name} in environment {workspace.environment} succeeds.",
        )
        for name, workspace in runnable.items()
    ]

    @dg.multi_asset_check(
        name=naming.run_op(project.name),
        specs=specs,
        can_subset=True,
        description="Run workspaces, each at one exact commit, and record the evidence.",
    )
    def run(
        context: dg.AssetCheckExecutionContext, config: RunConfig
    ) -> Iterator[dg.AssetCheckResult]:
        known_names(config.commits, runnable)
        failures = []
        for key in sorted(context.selected_asset_check_keys):
            workspace = runnable[key.asset_key.path[-1]]
            store = store_of(project)
            with answered_errors():
                commit = _pinned(project, workspace, config, store, book_of(context.instance))
                result = _run(context, project, workspace, commit=commit, store=store)
            if isinstance(result, str):
                # No evidence either way; whoever asked asks again, a few times.
                raise dg.Failure(f"{workspace.name}: {result}", allow_retries=False)
            yield result
            if not result.passed:
                failures.append(
                    f"{workspace.name}: {records.text(result.metadata, records.DETAIL)}"
                )
        if failures:
            raise dg.Failure("the run failed. " + "; ".join(failures), allow_retries=False)

    return [run]


def _run(
    context: dg.AssetCheckExecutionContext,
    project: Project,
    workspace: Workspace,
    *,
    commit: str,
    store: Store,
) -> dg.AssetCheckResult | str:
    """Run a workspace; returns the evidence, or why that could not be found out."""
    assert workspace.run
    run_id = context.run.run_id
    # Before the work begins, so that others can see that it is under way.
    key, value = naming.run_tag(project.name, workspace.name, commit, workspace.environment)
    context.instance.add_run_tags(run_id, {key: value})
    result, task = execution.execute(
        project,
        workspace,
        workspace.run,
        commit=commit,
        run_id=run_id,
        store=store,
        on_line=context.log.info,
    )
    note_refusal(context.instance, run_id, result.refused_by)
    if result.outcome is Outcome.ERRORED:
        return f"could not find out: {result.detail}"
    for event in made(workspace.run, result, task):
        context.op_execution_context.log_event(event)
    digest = what_ran(
        workspace.run, tree=task.tree, environment=workspace.environment, at=workspace.run_at
    )
    return dg.AssetCheckResult(
        passed=result.passed,
        asset_key=naming.asset_key(project.name, workspace.name),
        check_name=naming.RUN_CHECK,
        description=result.detail,
        metadata={
            records.COMMIT: dg.MetadataValue.text(commit),
            records.TREE: dg.MetadataValue.text(task.tree),
            records.ENVIRONMENT: dg.MetadataValue.text(workspace.environment),
            records.RAN: dg.MetadataValue.text(result.ran),
            records.DIGEST: dg.MetadataValue.text(digest),
            records.DETAIL: dg.MetadataValue.text(result.detail),
            "dataops/dagster_run": dg.MetadataValue.dagster_run(run_id),
            **metadata.of_result(result),
        },
    )


def _pinned(
    project: Project,
    workspace: Workspace,
    config: RunConfig,
    store: Store,
    book: Book,
) -> str:
    """Return the commit to run, in the cache: one on the branch, or a merge that is to be tested."""
    for target in project.targets_of(workspace):
        if target.name in config.retests:
            return execution.pin_merge(
                project,
                target,
                config.retests[target.name],
                store=store,
                book=book,
                now=clock.now(),
            )
    named = config.commits.get(workspace.name)
    return execution.pin(project, workspace, named, store=store)
