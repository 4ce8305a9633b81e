"""What workspaces' runs and deployments make, as assets: what is declared is in the graph."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from dataops_dagster.orchestration import naming, records
from dataops_dagster.platforms import Result, Task
from dataops_dagster.settings import Project
from dataops_dagster.settings_steps import MeltanoStep, Step


def stream_specs(project: Project) -> list[dg.AssetSpec]:
    """Return the streams that the configuration names: nothing but runs of workspaces makes them."""
    return [
        dg.AssetSpec(
            naming.stream_key(project.name, workspace.name, extractor, stream),
            deps=[naming.asset_key(project.name, workspace.name)],
            description=f"What `{extractor}` of {workspace.name} moves as `{stream}`.",
            group_name=project.name,
            kinds={"meltano"},
        )
        for workspace in project.workspaces.values()
        for extractor, stream in sorted(
            {
                (extractor, stream)
                for step in (workspace.run, workspace.deploy)
                if isinstance(step, MeltanoStep)
                for extractor, streams in step.streams.items()
                for stream in streams
            }
        )
    ]


def produced_specs(project: Project) -> list[dg.AssetSpec]:
    """Return the assets that the configuration says runs and deployments produce."""
    return [
        dg.AssetSpec(
            dg.AssetKey.from_user_string(key),
            deps=[naming.asset_key(project.name, workspace.name)],
            description=f"What {workspace.name} makes in environment {workspace.environment}.",
            group_name=project.name,
        )
        for key, workspace in project.produced.items()
    ]


def made(step: Step, result: Result, task: Task) -> Iterator[dg.AssetMaterialization]:
    """Yield a materialization of all that a step moved or produced; of a failed one nothing is whole."""
    if not result.passed:
        return
    told = {records.COMMIT: task.commit, records.ENVIRONMENT: task.environment}
    for stream in result.facts.streams:
        rows = {} if stream.rows is None else {"dagster/row_count": stream.rows}
        yield dg.AssetMaterialization(
            naming.stream_key(task.project, task.workspace, stream.extractor, stream.name),
            metadata={**told, **rows},
        )
    for key in step.produces:
        yield dg.AssetMaterialization(dg.AssetKey.from_user_string(key), metadata=told)
