"""Answers about pipes: lists, creates and deletes them, and makes endpoints."""

from __future__ import annotations

from dataclasses import replace

from dataops_dagster.testing.tinybird import datafiles, queries, resources
from dataops_dagster.testing.tinybird.account import Account, Who, Workspace
from dataops_dagster.testing.tinybird.datafiles import Node, Pipe
from dataops_dagster.testing.tinybird.datasources import changeable, own
from dataops_dagster.testing.tinybird.datasources import describe as describe_datasource
from dataops_dagster.testing.tinybird.exchange import (
    Answer,
    Json,
    Refused,
    Request,
    as_json,
    as_text,
)


def show_all(_account: Account, _request: Request, who: Who) -> Answer:
    """List a workspace's pipes."""
    workspace = own(who)
    return as_json({"pipes": [describe(workspace, pipe) for pipe in workspace.pipes.values()]})


def show(_account: Account, request: Request, who: Who) -> Answer:
    """Describe a pipe."""
    workspace = own(who)
    return as_json(describe(workspace, workspace.pipe(request.groups["name"])))


def show_file(_account: Account, request: Request, who: Who) -> Answer:
    """Return the datafile of a pipe."""
    return as_text(datafiles.write_pipe(own(who).pipe(request.groups["name"])))


def create(account: Account, request: Request, who: Who) -> Answer:
    """Create a pipe from its nodes; with `force` it takes the place of the one of its name."""
    workspace, told = changeable(who), request.json
    name = str(told.get("name", ""))
    if name in workspace.resources and request.query.get("force") != "true":
        raise Refused(409, f"There is already a resource with the name '{name}'")
    nodes = tuple(_node(node) for node in told.get("nodes", ()))
    if not name.isidentifier() or not nodes:
        raise Refused(400, "A pipe needs a name and nodes")
    made = Pipe(name, nodes, description=str(told.get("description", "")))
    resources.put_pipe(account, workspace, made, {**workspace.resources, name: made})
    answer = describe(workspace, made)
    if made.type == "materialized" and made.output.datasource:
        target = workspace.datasource(made.output.datasource)
        answer["datasource"] = describe_datasource(account, workspace, target)
        answer["created_datasource"] = False
    return as_json(answer)


def publish(_account: Account, request: Request, who: Who) -> Answer:
    """Make a node its pipe's endpoint; `DELETE` takes that back."""
    workspace = changeable(who)
    pipe = workspace.pipe(request.groups["name"])
    wanted = "endpoint" if request.method == "POST" else "standard"
    named = request.groups["node"]
    if named not in {n for node in pipe.nodes for n in (node.name, _node_id(pipe, node))}:
        raise Refused(404, f"The node '{named}' does not exist")
    nodes = tuple(
        replace(node, type=wanted) if named in (node.name, _node_id(pipe, node)) else node
        for node in pipe.nodes
    )
    workspace.resources[pipe.name] = replace(pipe, nodes=nodes)
    return as_json(describe(workspace, workspace.pipe(pipe.name)))


def analyze(account: Account, request: Request, who: Who) -> Answer:
    """Say where a node that is to be materialized would write."""
    workspace = own(who)
    pipe = workspace.pipe(request.groups["name"])
    target = workspace.datasources.get(pipe.output.datasource or "")
    told = describe_datasource(account, workspace, target) if target else {}
    analysis = {"sql": pipe.output.sql, "pipe": pipe.name, "datasource": told, "warnings": []}
    return as_json({"analysis": analysis})


def unlink(account: Account, request: Request, who: Who) -> Answer:
    """Stop a materialization; the pipe stays, unpublished."""
    workspace = changeable(who)
    pipe = workspace.pipe(request.groups["name"])
    account.engine.unmaterialize(workspace.space, pipe.name)
    nodes = tuple(replace(node, type="standard", datasource=None) for node in pipe.nodes)
    workspace.resources[pipe.name] = replace(pipe, nodes=nodes)
    return Answer(204)


def delete(account: Account, request: Request, who: Who) -> Answer:
    """Delete a pipe."""
    workspace = changeable(who)
    resources.remove(account, workspace, workspace.pipe(request.groups["name"]).name)
    return Answer(204)


def describe(workspace: Workspace, pipe: Pipe) -> Json:
    """Return a pipe as the API shows it."""
    kind = pipe.type
    return {
        "id": workspace.id_of(pipe.name),
        "name": pipe.name,
        "type": kind,
        "description": pipe.description,
        "endpoint": _node_id(pipe, pipe.output) if kind == "endpoint" else None,
        "nodes": [_describe_node(workspace, pipe, node) for node in pipe.nodes],
        "created_at": workspace.created_at,
        "updated_at": workspace.created_at,
    }


def _describe_node(workspace: Workspace, pipe: Pipe, node: Node) -> Json:
    target = node.datasource if node.datasource in workspace.datasources else None
    return {
        "id": _node_id(pipe, node),
        "name": node.name,
        "sql": node.sql,
        "description": "",
        "node_type": node.type,
        "type": node.type,
        "dependencies": queries.tables(node.sql),
        "materialized": workspace.id_of(target) if target else None,
        "params": [],
        "tags": {"materializing_target_datasource": target} if target else {},
    }


def _node(told: Json) -> Node:
    kind = str(told.get("type") or "standard").lower()
    return Node(str(told["name"]), str(told.get("sql", "")), kind, told.get("datasource"))


def _node_id(pipe: Pipe, node: Node) -> str:
    return f"n_{pipe.name}_{node.name}"
