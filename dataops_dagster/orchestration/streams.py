"""The streams that workspaces' runs move, as assets: declared ones are in the graph, all have events."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from dataops_dagster.orchestration import naming, records
from dataops_dagster.platforms import Result, Task
from dataops_dagster.settings import Project
from dataops_dagster.settings_steps import MeltanoStep


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


def stream_events(result: Result, task: Task) -> Iterator[dg.AssetMaterialization]:
    """Yield a materialization of each stream that a run moved; of a failed run none is complete."""
    for stream in result.facts.streams if result.passed else ():
        rows = {} if stream.rows is None else {"dagster/row_count": stream.rows}
        yield dg.AssetMaterialization(
            naming.stream_key(task.project, task.workspace, stream.extractor, stream.name),
            metadata={records.COMMIT: task.commit, records.ENVIRONMENT: task.environment, **rows},
        )
