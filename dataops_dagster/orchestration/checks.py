"""The check `run` of each workspace that can be run: its evaluation in a run is the evidence."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from dataops_dagster import execution
from dataops_dagster.orchestration import naming, records
from dataops_dagster.orchestration.ops import answered_errors, known_names
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store, store_of


class RunConfig(dg.Config):
    """Which commits to run, by workspace; a workspace's head when it is not named."""

    commits: dict[str, str] = Field(default_factory=dict)


def run_checks(project: Project) -> list[dg.AssetChecksDefinition]:
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
                result = _run(context, project, workspace, config, store)
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
    config: RunConfig,
    store: Store,
) -> dg.AssetCheckResult:
    assert workspace.run
    commit = execution.pin(project, workspace, config.commits.get(workspace.name), store=store)
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
            records.DETAIL: dg.MetadataValue.text(result.detail),
            "dataops/dagster_run": dg.MetadataValue.dagster_run(run_id),
        },
    )
