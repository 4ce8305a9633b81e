"""A project's two sensors: one records where heads are, one asks for what is due."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from typing import Any

import dagster as dg

from dataops_dagster import promotion
from dataops_dagster.errors import DataOpsError
from dataops_dagster.folders import cache_folder
from dataops_dagster.git import Store
from dataops_dagster.model import Project
from dataops_dagster.orchestration import naming, records
from dataops_dagster.orchestration.requests import Heads, Observer


def heads_sensor(project: Project) -> dg.SensorDefinition:
    """Return the sensor that records heads which moved: no run is needed for it."""

    @dg.sensor(
        name=f"heads_{project.name}",
        description="Records where the project's branches are, so that staleness is true.",
        asset_selection=dg.AssetSelection.groups(project.name),
        minimum_interval_seconds=_interval(project),
        default_status=_status(project),
    )
    def heads(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        found = promotion.look_up_all(project)
        events = list(_moved(project, context.instance, found))
        failed = [f"{name}: {e}" for name, e in found.items() if isinstance(e, DataOpsError)]
        return dg.SensorResult(
            asset_events=events,
            skip_reason="\n".join(failed) or f"{len(events)} head(s) moved",
        )

    return heads


def _moved(
    project: Project, instance: dg.DagsterInstance, heads: Heads
) -> Iterator[dg.AssetObservation | dg.AssetMaterialization]:
    for workspace in project.workspaces.values():
        head = heads[workspace.name]
        if isinstance(head, DataOpsError) or head.commit is None:
            continue
        key = naming.asset_key(project.name, workspace.name)
        tags = {naming.DATA_VERSION_TAG: head.commit}
        if not workspace.upstream:
            if records.observed_head(instance, key) != head.commit:
                yield dg.AssetObservation(key, tags=tags)
        elif records.materialized_head(instance, key) != head.commit:
            # A release is told by the run that makes it; a moment ago it may not have come to it.
            if head.release is None:
                yield dg.AssetMaterialization(
                    key,
                    description="The head was moved, and not by a promotion.",
                    tags=tags,
                    metadata={records.COMMIT: head.commit, records.OUTCOME: "moved by others"},
                )


def gates_sensor(project: Project, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """Return the sensor that asks `jobs` for promotions, deployments and runs that are due."""

    @dg.sensor(
        name=f"gates_{project.name}",
        description="Asks for every promotion, deployment and run that is due, or says why not.",
        jobs=jobs,
        minimum_interval_seconds=_interval(project),
        default_status=_status(project),
    )
    def gates(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        heads = promotion.look_up_all(project)
        with Store(cache_folder(), project.name) as store:
            observer = Observer(project, context.instance, store, datetime.now(timezone.utc))
            due = observer.due(heads)
        for reason in due.reasons:
            context.log.info(reason)
        return due.result()

    return gates


def _interval(project: Project) -> int:
    return int(project.automation.interval.total_seconds())


def _status(project: Project) -> dg.DefaultSensorStatus:
    enabled = project.automation.enabled
    return dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED
