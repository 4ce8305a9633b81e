"""Forward deployments: a whole project is checked, made ready, and put in the place of the last one."""

from __future__ import annotations

from dataops_dagster.testing.tinybird import projects, resources
from dataops_dagster.testing.tinybird.account import (
    Account,
    Deployment,
    Dialect,
    Who,
    Workspace,
    now,
)
from dataops_dagster.testing.tinybird.datafiles import Datasource
from dataops_dagster.testing.tinybird.exchange import Answer, Json, Refused, Request, as_json
from dataops_dagster.testing.tinybird.projects import Project

_UNDER_WAY = ("calculating", "creating_schema", "schema_ready")
_ENDING = {"failed": "deleting", "deleting": "deleted"}
_THERE = {*_UNDER_WAY, "data_ready", "failed"}


def deploy(account: Account, request: Request, who: Who) -> Answer:
    """Check a project; unless that is all that was asked, submit its deployment."""
    workspace, query = _forward(who), request.query
    project = projects.read(request.parts)
    changes = projects.compare(workspace.resources, project.resources)
    made = Deployment(
        str(max(int(d.id) for d in workspace.deployments) + 1),
        project.resources,
        changes,
        now(),
        auto_promote=query.get("auto_promote") == "true",
        errors=_find_errors(account, workspace, project, changes, query),
    )
    if made.errors:
        made.status = "failed"
        return as_json({"result": "failed", "deployment": describe(made)}, 400)
    if not any(changes.values()):
        return as_json({"result": "no_changes", "deployment": describe(made)})
    if query.get("check") != "true":
        made.error = account.faults.fail_deployment()
        workspace.deployments.append(made)
    return as_json({"result": "success", "deployment": describe(made)})


def build(account: Account, request: Request, who: Who) -> Answer:
    """Put a project in place at once, as a local build does."""
    workspace = _forward(who)
    project = projects.read(request.parts)
    changes = projects.compare(workspace.resources, project.resources)
    errors = project.errors or project.blame(
        resources.check_all(account, workspace, project.resources)
    )
    if errors:
        return as_json({"result": "failed", "errors": errors}, 400)
    resources.apply(account, workspace, project.resources)
    return as_json({"result": "success", "build": {**changes, "feedback": []}})


def show_all(account: Account, _request: Request, who: Who) -> Answer:
    """List what is not deleted, the oldest first."""
    workspace = _forward(who)
    for deployment in workspace.deployments:
        look(account, workspace, deployment)
    shown = [d for d in workspace.deployments if d.status != "deleted"]
    return as_json({"deployments": [describe(d) for d in shown]})


def show(account: Account, request: Request, who: Who) -> Answer:
    """Describe a deployment; one that was deleted is still known."""
    workspace = _forward(who)
    found = _find(workspace, request)
    look(account, workspace, found)
    return as_json({"deployment": describe(found)})


def promote(account: Account, request: Request, who: Who) -> Answer:
    """Put a deployment that is ready in the place of the live one, which stays until it is deleted."""
    workspace = _forward(who)
    found = _find(workspace, request)
    if found.status != "data_ready":
        raise Refused(400, f"Deployment {found.id} is {found.status}, not data_ready")
    make_live(account, workspace, found, before="data_ready")
    return as_json({"deployment": describe(found)})


def delete(_account: Account, request: Request, who: Who) -> Answer:
    """Begin to delete a deployment that is not live."""
    workspace = _forward(who)
    found = _find(workspace, request)
    if found.live:
        raise Refused(400, f"Deployment {found.id} is live and cannot be deleted")
    found.status = "deleted" if found.status == "deleted" else "deleting"
    return as_json({"deployment": describe(found)})


def look(account: Account, workspace: Workspace, deployment: Deployment) -> None:
    """Let a deployment go on: time passes when somebody looks, so tests need not wait for it."""
    deployment.looks += 1
    if deployment.status in _ENDING:
        deployment.status = _ENDING[deployment.status]
    elif deployment.status not in _UNDER_WAY:
        return
    elif deployment.looks < account.looks:
        deployment.status = _UNDER_WAY[deployment.looks * len(_UNDER_WAY) // account.looks]
    elif deployment.error:
        deployment.status = "failed"
        deployment.errors.append({"error": deployment.error})
    else:
        deployment.status = "data_ready"
        if deployment.auto_promote:
            make_live(account, workspace, deployment)


def make_live(
    account: Account, workspace: Workspace, deployment: Deployment, *, before: str = "deleting"
) -> None:
    """Put a deployment's project in place; `before` is the status that the one before it gets."""
    for other in workspace.deployments:
        if other.live and other is not deployment:
            other.live, other.status = False, before
    deployment.live = True
    resources.apply(account, workspace, deployment.resources)


def describe(deployment: Deployment) -> Json:
    """Return a deployment as the API shows it."""
    return {
        "id": deployment.id,
        "status": deployment.status,
        "live": deployment.live,
        "created_at": deployment.created_at,
        "updated_at": deployment.created_at,
        "errors": deployment.errors,
        "feedback": [],
        "token_changes": [],
        "new_data_connector_ids": [],
        **deployment.changes,
    }


def _find_errors(
    account: Account, workspace: Workspace, project: Project, changes: Json, query: dict[str, str]
) -> list[Json]:
    if project.errors:
        return project.errors
    gone = changes["deleted_datasource_names"]
    if gone and query.get("allow_destructive_operations") != "true":
        said = "would be deleted with its data: use --allow-destructive-operations"
        return [{"filename": f"{n}.datasource", "error": f"Data Source {n} {said}"} for n in gone]
    other = next((d for d in workspace.deployments if not d.live and d.status in _THERE), None)
    if other and query.get("check") != "true":
        return [{"error": f"Deployment {other.id} is {other.status}: promote or discard it first"}]
    named = {w.name for w in account.mains()}
    wrong = {
        datasource.name: f"Workspace {name} of SHARED_WITH not found"
        for datasource in project.resources.values()
        if isinstance(datasource, Datasource)
        for name in datasource.shared_with
        if name not in named
    }
    return project.blame(wrong or resources.check_all(account, workspace, project.resources))


def _find(workspace: Workspace, request: Request) -> Deployment:
    for deployment in workspace.deployments:
        if deployment.id == request.groups["id"]:
            return deployment
    raise Refused(404, f"Deployment {request.groups['id']} not found")


def _forward(who: Who) -> Workspace:
    if who.workspace is None or who.workspace.dialect is Dialect.CLASSIC:
        raise Refused(403, "This is no Forward workspace: it has no deployments")
    return who.workspace
