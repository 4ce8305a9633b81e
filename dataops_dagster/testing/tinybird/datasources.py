"""Answers about data sources: lists, creates, alters and deletes them, takes rows, shares."""

from __future__ import annotations

from dataclasses import replace

from dataops_dagster.testing.tinybird import datafiles, queries, resources
from dataops_dagster.testing.tinybird.account import Account, Dialect, Who, Workspace
from dataops_dagster.testing.tinybird.branches import add_job
from dataops_dagster.testing.tinybird.datafiles import Datasource
from dataops_dagster.testing.tinybird.exchange import (
    Answer,
    Json,
    Refused,
    Request,
    as_json,
    as_text,
)


def show_all(account: Account, _request: Request, who: Who) -> Answer:
    """List a workspace's data sources, and those that are shared with it."""
    workspace = own(who)
    found = [describe(account, workspace, d) for d in workspace.datasources.values()]
    for full, origin in workspace.shared.items():
        other = account.workspaces[origin]
        told = describe(account, other, other.datasource(full.partition(".")[2]))
        found.append({**told, "name": full, "shared_from": origin})
    return as_json({"datasources": found})


def show(account: Account, request: Request, who: Who) -> Answer:
    """Describe a data source."""
    workspace = own(who)
    found = workspace.datasource(request.groups["name"])
    return as_json(describe(account, workspace, found))


def show_file(account: Account, request: Request, who: Who) -> Answer:
    """Return the datafile of a data source, also of one that is shared."""
    workspace, name = own(who), request.groups["name"]
    if name in workspace.shared:
        origin = account.workspaces[workspace.shared[name]]
        found = origin.datasource(name.partition(".")[2])
        is_all = request.query.get("include_all_shared_with") == "true"
        told = found if is_all else replace(found, shared_with=())
        return as_text(datafiles.write_datasource(replace(told, tokens=())))
    return as_text(datafiles.write_datasource(workspace.datasource(name)))


def create_or_import(account: Account, request: Request, who: Who) -> Answer:
    """Take rows when a mode says so or a file came with it; else create a data source."""
    if request.parts or request.query.get("mode") in ("append", "replace"):
        return import_rows(account, request, who)
    workspace = changeable(who)
    form, name = request.form, request.form.get("name", "")
    if name in workspace.resources:
        raise Refused(409, f"Data Source {name} already exists")
    engine = ((k, v) for k, v in form.items() if k.startswith("engine") and v)
    made = Datasource(
        name,
        datafiles.columns(form.get("schema", "")),
        tuple(engine),
        description=form.get("description", ""),
    )
    if not name.isidentifier() or not made.columns:
        raise Refused(400, "A data source needs a name and a schema")
    resources.put_datasource(account, workspace, made)
    return as_json({"datasource": describe(account, workspace, made)})


def import_rows(account: Account, request: Request, who: Who) -> Answer:
    """Append rows to a data source, or put them in the place of its rows."""
    workspace = own(who)
    name = request.groups.get("name") or request.query.get("name", "")
    found = workspace.datasource(name)
    mode = request.groups.get("mode") or request.query.get("mode", "append")
    content = next((part.content for part in request.parts), request.content)
    table = workspace.table(found.name)
    if mode == "replace":
        account.engine.truncate(table)
    account.engine.insert(table, request.query.get("format", "csv"), content.decode())
    told = describe(account, workspace, found)
    job = add_job(account, request, "import", {"datasource": told})
    if request.path.startswith("/v1"):  # whose clients take a key `error` for one, whatever it says
        return as_json({**job, "import_id": job["id"]})
    good = {"error": False, "errors": [], "blocks": [], "quarantine_rows": 0, "invalid_lines": 0}
    return as_json({**job, **good, "import_id": job["id"]})


def truncate(account: Account, request: Request, who: Who) -> Answer:
    """Remove a data source's rows."""
    workspace = own(who)
    found = workspace.datasource(request.groups["name"])
    account.engine.truncate(workspace.table(found.name))
    return as_json({})


def alter(account: Account, request: Request, who: Who) -> Answer:
    """Change a data source's columns or description; `dry` only says what would change."""
    workspace = changeable(who)
    before = workspace.datasource(request.groups["name"])
    form = request.form
    after = replace(
        before,
        columns=datafiles.columns(form["schema"]) if "schema" in form else before.columns,
        description=form.get("description", before.description),
    )
    lost = {name for name, _ in before.columns} - {name for name, _ in after.columns}
    if lost:
        raise Refused(400, f"Columns cannot be dropped: {', '.join(sorted(lost))}")
    if after == before:
        raise Refused(400, "There were no operations to perform")
    if form.get("dry") != "true":
        resources.put_datasource(account, workspace, after)
    new = [f"ADD COLUMN `{n}` {k}" for n, k in after.columns if (n, k) not in before.columns]
    return as_json({"operations": new or ["MODIFY COMMENT"], "dependencies": []})


def delete(account: Account, request: Request, who: Who) -> Answer:
    """Delete a data source that nothing reads; with `force` also one that is read."""
    workspace = changeable(who)
    found = workspace.datasource(request.groups["name"])
    users = _used_by(workspace, found.name)
    if users and request.query.get("force") != "true":
        raise Refused(409, f"The Data Source is used by {', '.join(users)}")
    if request.query.get("dry_run") != "true":
        resources.remove(account, workspace, found.name)
    return as_json({"id": found.name, "dependencies": users}) if users else Answer(204)


def share(account: Account, request: Request, who: Who) -> Answer:
    """Share a data source with a workspace; `DELETE` takes that back."""
    form = request.form
    origin = account.find(form.get("origin_workspace_id", "") or (who.workspace or _NOBODY).id)
    destination = account.find(
        form.get("destination_workspace_id") or form.get("destination_workspace_name", "")
    )
    if who.right.value != "user" and who.workspace is not origin:
        raise Refused(403, "The data source is another workspace's: a user token is needed")
    found = origin.datasource(request.groups["name"])
    names = [name for name in found.shared_with if name != destination.name]
    if request.method == "POST":
        names.append(destination.name)
    shared = replace(found, shared_with=tuple(names))
    resources.put_datasource(account, origin, shared)
    return as_json(describe(account, origin, shared))


def describe(account: Account, workspace: Workspace, datasource: Datasource) -> Json:
    """Return a data source as the API shows it."""
    table, settings = workspace.table(datasource.name), dict(datasource.settings)
    named = [w for w in account.mains() if w.name in datasource.shared_with]
    engine = {key.removeprefix("engine_"): value for key, value in settings.items()}
    return {
        "id": workspace.id_of(datasource.name),
        "name": datasource.name,
        "type": "csv",
        "description": datasource.description,
        "columns": [{"name": name, "type": kind} for name, kind in datasource.columns],
        "schema": {"sql_schema": datasource.schema},
        "engine": {**engine, "engine": settings.get("engine", "MergeTree")},
        "indexes": [],
        "tags": {},
        "statistics": {"row_count": account.engine.count(table), "bytes": 0},
        "shared_with": [w.id for w in named],
        "shared_with_workspaces": [{"id": w.id, "name": w.name} for w in named],
        "used_by": [{"name": name} for name in _used_by(workspace, datasource.name)],
        "created_at": workspace.created_at,
        "updated_at": workspace.created_at,
    }


def own(who: Who) -> Workspace:
    """Return the workspace of a token; raises `Refused` when it has none."""
    if who.workspace is None:
        raise Refused(404, "This account has no workspace")
    return who.workspace


def changeable(who: Who) -> Workspace:
    """Return a workspace whose resources may be changed one by one; raises `Refused`."""
    workspace = own(who)
    if workspace.dialect is Dialect.FORWARD:
        raise Refused(403, "The resources of a Forward workspace change by deployments only")
    return workspace


def _used_by(workspace: Workspace, name: str) -> list[str]:
    return [
        pipe.name
        for pipe in workspace.pipes.values()
        if any(n.datasource == name or name in queries.tables(n.sql) for n in pipe.nodes)
    ]


_NOBODY = Workspace("", Dialect.CLASSIC, id="")
