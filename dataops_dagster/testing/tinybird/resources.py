"""Puts data sources and pipes in place, takes them away, and says what is wrong with them."""

from __future__ import annotations

import uuid
from contextlib import suppress

from dataops_dagster.testing.tinybird import queries
from dataops_dagster.testing.tinybird.account import Account, Token, Workspace, make_token
from dataops_dagster.testing.tinybird.datafiles import Datasource, Pipe
from dataops_dagster.testing.tinybird.exchange import Refused
from dataops_dagster.testing.tinybird.projects import Resources


def apply(account: Account, workspace: Workspace, wanted: Resources) -> None:
    """Make the workspace's resources those that are wanted, and nothing else."""
    for name in set(workspace.resources) - set(wanted):
        remove(account, workspace, name)
    changed = {n: r for n, r in wanted.items() if workspace.resources.get(n) != r}
    for resource in changed.values():
        if isinstance(resource, Datasource):
            put_datasource(account, workspace, resource)
    for resource in changed.values():  # a pipe reads and fills data sources
        if isinstance(resource, Pipe):
            put_pipe(account, workspace, resource, wanted)
    for resource in changed.values():
        grant(workspace, resource)


def put_datasource(account: Account, workspace: Workspace, datasource: Datasource) -> None:
    """Create a data source or replace the one of its name; rows of columns that stay are kept."""
    before = workspace.datasources.get(datasource.name)
    after = (datasource.columns, datasource.settings)
    if before is None or (before.columns, before.settings) != after:
        table = workspace.table(datasource.name)
        account.engine.create(table, datasource.columns, dict(datasource.settings))
        # What flowed out of the table before would not flow out of the new one.
        for pipe in workspace.pipes.values():
            materialize(account, workspace, pipe, workspace.resources)
    workspace.resources[datasource.name] = datasource
    share(account, workspace, datasource)


def put_pipe(account: Account, workspace: Workspace, pipe: Pipe, among: Resources) -> None:
    """Create a pipe or replace the one of its name; raises `Refused` when it cannot work."""
    check(account, workspace, pipe, among)
    materialize(account, workspace, pipe, among)
    workspace.resources[pipe.name] = pipe


def materialize(account: Account, workspace: Workspace, pipe: Pipe, among: Resources) -> None:
    """Let a materialized pipe fill its data source, when both are there."""
    target = pipe.output.datasource
    if pipe.type == "materialized" and target in workspace.datasources:
        sql = queries.compose(pipe, among, {})
        account.engine.materialize(workspace.space, pipe.name, sql, target)


def remove(account: Account, workspace: Workspace, name: str) -> None:
    """Delete a resource, with its rows or its flow."""
    gone = workspace.resources.pop(name)
    workspace.ids.pop(name, None)
    if isinstance(gone, Datasource):
        account.engine.drop(workspace.table(name))
        for other in account.workspaces.values():
            other.shared.pop(f"{workspace.name}.{name}", None)
    elif gone.type == "materialized":
        account.engine.unmaterialize(workspace.space, name)


def share(account: Account, workspace: Workspace, datasource: Datasource) -> None:
    """Let exactly the workspaces that the data source names read it, and their branches.

    A branch shares nothing.
    """
    if workspace.main:
        return
    full = f"{workspace.name}.{datasource.name}"
    for other in account.workspaces.values():
        other.shared.pop(full, None)
        if account.workspaces[other.main or other.id].name in datasource.shared_with:
            other.shared[full] = workspace.id


def grant(workspace: Workspace, resource: Datasource | Pipe) -> None:
    """Give the tokens that a datafile names their rights, and make those that are not there."""
    kind = "PIPES" if isinstance(resource, Pipe) else "DATASOURCES"
    for name, right in resource.tokens:
        token = workspace.tokens.setdefault(name, Token(name, make_token(), []))
        scope = {"type": f"{kind}:{right}", "resource": resource.name}
        token.scopes += [scope] if scope not in token.scopes else []


def check(account: Account, workspace: Workspace, pipe: Pipe, among: Resources) -> None:
    """Raise `Refused` with what is wrong with a pipe among the resources it would live with."""
    missed = queries.missing(pipe, {*among, *workspace.shared})
    if missed:
        raise Refused(400, f"Resource '{missed[0]}' not found")
    if pipe.type == "materialized" and not pipe.output.datasource:
        raise Refused(400, "A materialized node needs a DATASOURCE")
    with suppress(queries.Unset):  # what has no default is known when somebody asks
        account.engine.check(workspace.space, queries.compose(pipe, among, {}))


def check_all(account: Account, workspace: Workspace, wanted: Resources) -> dict[str, str]:
    """Return what is wrong with each resource, tried in a place of their own without rows."""
    place = Workspace("", workspace.dialect, main=workspace.id, shared=workspace.shared)
    place.id = f"check-{uuid.uuid4()}"
    ordered = sorted(wanted.items(), key=lambda item: isinstance(item[1], Pipe))
    found = {n: _find_fault(account, place, resource, wanted) for n, resource in ordered}
    account.engine.forget(place.space)
    return {name: error for name, error in found.items() if error}


def _find_fault(
    account: Account, place: Workspace, resource: Datasource | Pipe, wanted: Resources
) -> str | None:
    try:
        if isinstance(resource, Datasource):
            put_datasource(account, place, resource)
        else:
            put_pipe(account, place, resource, wanted)
    except Refused as refused:
        return str(refused)
    return None


def copy_rows(account: Account, source: Workspace, target: Workspace) -> list[str]:
    """Copy all rows of one workspace to another with the same data sources; returns their names."""
    filled = {pipe.output.datasource for pipe in source.pipes.values()}
    # What a pipe fills comes last: the rows of its source flow through the pipe, too.
    names = sorted(source.datasources, key=lambda name: name in filled)
    for name in names:
        account.engine.truncate(target.table(name))
        account.engine.copy(source.table(name), target.table(name))
    return names
