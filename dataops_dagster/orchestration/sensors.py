"""A project's two sensors: one records where heads are, one asks for what is due."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from dataops_dagster import clock, rollback
from dataops_dagster.errors import DataOpsError
from dataops_dagster.git import LOOKUP_SECONDS
from dataops_dagster.heads import Head, Heads, look_up_all
from dataops_dagster.model import Considered, Held
from dataops_dagster.orchestration import metadata, naming, outlook, provenance, records
from dataops_dagster.orchestration.asking import PROMOTION, Asking
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.orchestration.look import Look
from dataops_dagster.orchestration.memory import Memory
from dataops_dagster.orchestration.requests import Observer
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of

FETCH_SECONDS = 30.0
"""What a look may spend on fetching: Dagster gives it a minute. A run may take as long as it needs,
so that a large repository's first fetch is a matter of materializing the target by hand once."""


LOOK_SECONDS = 25.0
"""After this a look begins with no further workspace; the next one goes on there."""


def heads_sensor(project: Project) -> dg.SensorDefinition:
    """Return the sensor that records heads which moved: no run is needed for it."""
    memory = Memory(project)
    # By key: a component may put its assets into another group.
    keys = (naming.asset_key(project.name, name) for name in project.workspaces)

    @dg.sensor(
        name=f"heads_{project.name}",
        description="Records where the project's branches are, so that staleness is true.",
        asset_selection=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=_interval(project),
        default_status=sensor_status(project),
    )
    def heads(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        memory.refresh(context.instance)
        recorded = _recorded(project, context.instance, memory)
        found = look_up_all(project)
        events = list(_moved(project, context.instance, recorded, found))
        for name, head in found.items():
            if isinstance(head, Head) and head.commit and head.commit == recorded[name]:
                memory.keep(name, head.commit)
            else:
                memory.forget(name)
        failed = [f"{name}: {e}" for name, e in found.items() if isinstance(e, DataOpsError)]
        return dg.SensorResult(
            asset_events=events,
            skip_reason="\n".join(failed) or f"{len(events)} head(s) moved",
        )

    return heads


def _recorded(
    project: Project, instance: dg.DagsterInstance, memory: Memory
) -> dict[str, str | None]:
    return {
        w.name: memory.recall(w.name) or records.recorded_head(instance, project.name, w)
        for w in project.workspaces.values()
    }


def _moved(
    project: Project,
    instance: dg.DagsterInstance,
    recorded: Mapping[str, str | None],
    heads: Heads,
) -> Iterator[dg.AssetObservation | dg.AssetMaterialization]:
    """Yield an event for each head that is not where it was recorded before the look-up.

    What there is no time for is yielded by the next look.
    """
    asking, until = Asking(instance, clock.now()), time.monotonic() + LOOK_SECONDS
    for workspace in project.workspaces.values():
        head = heads[workspace.name]
        if isinstance(head, DataOpsError) or head.commit in (None, recorded[workspace.name]):
            continue
        key = naming.asset_key(project.name, workspace.name)
        tags = {naming.DATA_VERSION_TAG: str(head.commit)}
        page = metadata.page_of(workspace, str(head.commit))
        if not workspace.upstream:
            yield dg.AssetObservation(key, tags=tags, metadata=page)
        elif not _is_being_moved(asking, project, workspace) and recorded[
            workspace.name
        ] == records.recorded_head(instance, project.name, workspace):
            # No run of ours is about to tell it, or has just done so.
            yield dg.AssetMaterialization(
                key,
                description="The head was moved, and no run here recorded it.",
                # First: it brings the head's history.
                tags=tags | _provenance(project, workspace, heads),
                metadata={
                    records.COMMIT: str(head.commit),
                    records.OUTCOME: f"release {head.release}"
                    if head.release
                    else "moved by others",
                    **page,
                    **(
                        _landed(project, workspace, head, until=until + LOOKUP_SECONDS)
                        if head.release
                        else _drift(project, workspace, head)
                    ),
                },
            )
            if time.monotonic() > until:
                return


def _provenance(project: Project, target: Workspace, heads: Heads) -> dict[str, str]:
    store = store_of(project, seconds=FETCH_SECONDS)
    return provenance.tags(project, provenance.arrived(project, target, heads, store=store))


def _is_being_moved(asking: Asking, project: Project, target: Workspace) -> bool:
    """Say whether a run of ours may be moving a target's head; a dead one stays started for ever."""
    tags = (naming.promotion_tag, naming.rollback_tag)
    movers = (tag(project.name, target.name, "") for tag in tags)
    return any(asking.busy(tag, "it", PROMOTION) for tag in movers)


def _landed(project: Project, target: Workspace, head: Head, *, until: float) -> dict[str, Any]:
    """Return what the record of a release tells; nothing if there is no time left to ask for it."""
    left = min(LOOKUP_SECONDS, until - time.monotonic())
    if left <= 0:
        return {}
    store = store_of(project, seconds=left)
    return metadata.of_landed(provenance.landed(project, target, head, store=store))


def _drift(project: Project, target: Workspace, head: Head) -> dict[str, Any]:
    """Return what a target got since its last release; nothing where that cannot be looked up now."""
    try:
        found = rollback.at(project, target, head, store=store_of(project, seconds=FETCH_SECONDS))
        return metadata.of_hotfixes(found.since_last())
    except DataOpsError:
        return {}


def gates_sensor(
    project: Project, jobs: Sequence[Any], book_of: BookOf = InstanceBook
) -> dg.SensorDefinition:
    """Return the sensor that asks `jobs` for promotions, deployments and runs that are due."""
    # Evidence that others tell may change without a run.
    memory = Memory(project) if book_of is InstanceBook else None
    begin = ""

    @dg.sensor(
        name=f"gates_{project.name}",
        description="Asks for every promotion, deployment and run that is due, or says why not.",
        jobs=jobs,
        minimum_interval_seconds=_interval(project),
        default_status=sensor_status(project),
    )
    def gates(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        nonlocal begin
        if memory:
            memory.refresh(context.instance)
        until = time.monotonic() + LOOK_SECONDS
        heads, now = look_up_all(project), clock.now()
        store = store_of(project, seconds=FETCH_SECONDS)
        look = Look(project, heads, context.instance, store, now, book_of)
        observer = Observer(look, memory, until, begin)
        due = observer.due()
        begin = observer.begin
        shown = [
            event
            for show in (_gates, _merges)
            for event in show(project, context.instance, look.considered)
        ]
        for reason in due.reasons if due.requests else ():  # else they are what is answered
            context.log.info(reason)
        # What is shown anew is to be read back first.
        observer.remember(without={event.asset_key for event in shown})
        return due.result(shown)

    return gates


def _gates(
    project: Project, instance: dg.DagsterInstance, considered: Mapping[str, Considered]
) -> Iterator[dg.AssetObservation | dg.AssetCheckEvaluation]:
    """Yield what shows where each gate stands, where that has changed; nothing reads it back."""
    for name, found in considered.items():
        key, said = naming.asset_key(project.name, name), outlook.gate_said(found)
        told = said["metadata"].items()
        shown = {k: dg.MetadataValue.md(v) if isinstance(v, str) else v for k, v in told}
        if not project.workspaces[name].gate or shown == records.shown_gate(instance, key):
            continue
        yield dg.AssetObservation(key, description="Where its gate stands.", metadata=shown)
        said["metadata"] = shown
        yield dg.AssetCheckEvaluation(asset_key=key, check_name=naming.GATE_CHECK, **said)


def _merges(
    project: Project, instance: dg.DagsterInstance, considered: Mapping[str, Considered]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield what would be merged into each target, where that has changed."""
    made = [
        dg.AssetCheckEvaluation(
            asset_key=naming.asset_key(project.name, name),
            check_name=naming.MERGE_CHECK,
            **outlook.merge_said(found),
        )
        for name, found in considered.items()
        if not isinstance(found, Held) or found.plan  # else nobody has merged anything yet
    ]
    shown = records.shown_checks(instance, [merge.asset_check_key for merge in made])
    for merge in made:
        before = shown.get(merge.asset_check_key)
        if before is None or _said(before) != _said(merge):
            yield merge


def _said(check: dg.AssetCheckEvaluation) -> tuple[Any, ...]:
    return check.passed, check.description, check.metadata


def _interval(project: Project) -> int:
    # The daemon looks every five seconds and passes over a sensor whose interval is not quite over:
    # one that asks for five is then evaluated every ten. A second less, and it is not.
    return max(1, int(project.automation.interval.total_seconds()) - 1)


def sensor_status(project: Project) -> dg.DefaultSensorStatus:
    """Return whether a project's sensors begin to look by themselves."""
    enabled = project.automation.enabled
    return dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED
