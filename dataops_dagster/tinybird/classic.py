"""How Classic deploys: push everything, then delete what the data project dropped.

Not atomic: what broke off half-way is written down, and pushed again by the next attempt.
"""

from __future__ import annotations

import dataclasses

from dataops_dagster.errors import ToolError
from dataops_dagster.tinybird import comparing
from dataops_dagster.tinybird import plan as planning
from dataops_dagster.tinybird.journal import Entry
from dataops_dagster.tinybird.model import DeploymentPlan, Kind, Operation, Refusal, Resource, Verb
from dataops_dagster.tinybird.site import Site
from dataops_dagster.tinybird.trouble import trouble

# Without --force a changed pipe is skipped with exit code 0; fixtures are not pushed: together with
# --force they would replace what is there.
PUSH = ("push", "--push-deps", "--force", "--yes", "--no-check")
_FIRST = (Kind.ENDPOINT, Kind.COPY, Kind.SINK, Kind.PIPE, Kind.MATERIALIZATION, Kind.DATASOURCE)


def compare(site: Site, there: list[Resource]) -> tuple[list[Operation], tuple[str, ...]]:
    """Return the operations, and the names of what is there and stays."""
    names = {resource.name for resource in there}
    differences = {**comparing.datasources(site, names), **comparing.pipes(site, names)}
    deployed = site.journal.read().names
    return planning.compared(site.project.resources, there, deployed, differences)


def still_read(site: Site, plan: DeploymentPlan) -> Refusal | None:
    """Refuse to delete a data source from under a pipe that is not the data project's."""
    gone = [o.name for o in plan.operations if (o.verb, o.kind) == (Verb.DELETE, Kind.DATASOURCE)]
    if not gone:
        return None
    ours = {*site.project.names, *(o.name for o in plan.destructive)}
    users = site.client.users()
    read = {name: others for name in gone if (others := users.get(name, set()) - ours)}
    if not read:
        return None
    named = "; ".join(f"{name}: {', '.join(sorted(read[name]))}" for name in sorted(read))
    return Refusal(
        f"pipes that are not the data project's use what it would delete: {named[:900]}",
        "remove those pipes, or keep the data source in the data project",
    )


def deploy(site: Site, plan: DeploymentPlan) -> str | Refusal:
    """Push and delete as planned; returns what was done.

    Raises `ToolError` when the server failed us half-way: the next attempt pushes everything again.
    """
    before = site.journal.read()
    if before.begun:
        site.say(f"the push of {before.begun[:12]} broke off half-way: pushing everything again")
    names = tuple(sorted({*before.names, *site.project.names}))
    site.journal.write(Entry(begun=site.order.commit, names=names))
    done = site.tb.run(*PUSH)
    if not done.passed:
        told = trouble(done.lines)
        return _inconsistent(site, told or done.told, code=done.code, is_server=bool(told))
    try:
        _delete(site, [o for o in plan.operations if o.verb is Verb.DELETE])
    except ToolError as error:
        return _inconsistent(site, str(error), code=error.code, is_server=error.retryable)
    site.journal.write(
        dataclasses.replace(before, begun="", names=tuple(sorted(site.project.names)))
    )
    return "pushed"


def _inconsistent(site: Site, problem: str, *, code: int | None, is_server: bool) -> Refusal:
    told = f"{site.identity.name} is INCONSISTENT, partly at {site.order.commit[:12]}: {problem}"
    again = "deploy again, which pushes everything once more"
    if is_server:
        raise ToolError("tb push", code, told, retryable=True, hint=again)
    return Refusal(
        told, f"{again}; or deploy the last good commit; or drop and recreate it, if it may be"
    )


def _delete(site: Site, operations: list[Operation]) -> None:
    """Delete readers before what they read; what is still in use is tried again after the others."""
    waiting = sorted(operations, key=lambda o: _FIRST.index(o.kind))
    while waiting:
        failed = [(o, error) for o in waiting if (error := _failure(site, o))]
        if len(failed) == len(waiting):
            raise failed[0][1]
        waiting = [operation for operation, _ in failed]


def _failure(site: Site, operation: Operation) -> ToolError | None:
    try:
        site.client.delete(Resource(operation.name, operation.kind))
    except ToolError as error:
        return error
    site.say(f"deleted {operation.kind.value} {operation.name}")
    return None
