"""Answers who one is, which workspaces there are, and makes and deletes them."""

from __future__ import annotations

from dataops_dagster.testing.tinybird.account import EMAIL, Account, Dialect, Who, Workspace
from dataops_dagster.testing.tinybird.exchange import Answer, Json, Refused, Request, as_json


def show_auth(_account: Account, _request: Request, who: Who) -> Answer:
    """Say whether a token is a user's."""
    return as_json({"is_valid": True, "is_user": who.right.value == "user"})


def show_current(account: Account, request: Request, who: Who) -> Answer:
    """Say which workspace a token is for; `/v1` knows Forward workspaces only."""
    if who.workspace is None:
        raise Refused(404, "This account has no workspace")
    if request.path.startswith("/v1") and who.workspace.dialect is Dialect.CLASSIC:
        raise Refused(403, "This is a Classic workspace: use /v0")
    # Whoever may not administrate the workspace does not learn the token that may.
    own = {"scope": who.right.value, "token": request.token}
    return as_json({**describe(account, who.workspace), **own})


def show_all(account: Account, request: Request, who: Who) -> Answer:
    """List what the account has, with admin tokens; a workspace's token sees the workspace's account."""
    found = list(account.workspaces.values())
    if request.query.get("only_environments") == "true":
        found = [w for w in found if w.main]
    elif request.query.get("with_environments", "true") != "true":
        found = [w for w in found if not w.main]
    current = who.workspace
    return as_json(
        {
            "id": current.id if current else account.user,
            "email": EMAIL,
            "organization_id": account.organization,
            "workspaces": [describe(account, w) for w in found],
        }
    )


def create(account: Account, request: Request, _who: Who) -> Answer:
    """Make a workspace: Classic by `/v0`, Forward by `/v1`."""
    name = request.form.get("name", "")
    if not name.isidentifier():
        raise Refused(400, f"'{name}' is no name of a workspace: use letters, digits and _")
    if account.faults.refuse_creation is not None:
        raise Refused(403, account.faults.refuse_creation)
    dialect = Dialect.FORWARD if request.path.startswith("/v1") else Dialect.CLASSIC
    return as_json(describe(account, account.create(name, dialect)))


def show(account: Account, request: Request, _who: Who) -> Answer:
    """Describe a workspace by name or id."""
    return as_json(describe(account, account.find(request.groups["id"])))


def delete(account: Account, request: Request, _who: Who) -> Answer:
    """Delete a workspace; its tokens die with it."""
    found = account.find(request.groups["id"])
    account.delete(found)
    return as_json(describe(account, found))


def show_organization(account: Account, _request: Request, _who: Who) -> Answer:
    """Describe the account's organization."""
    return as_json(_organization(account))


def show_regions(_account: Account, request: Request, _who: Who) -> Answer:
    """List one region: this server."""
    host = f"http://{request.headers.get('host', '')}"
    region = {"name": "local", "provider": "local", "host": host, "api_host": host}
    return as_json({"regions": [{**region, "default_password": ""}]})


def show_connectors(_account: Account, _request: Request, _who: Who) -> Answer:
    """List no connections to other systems: there are none here."""
    return as_json({"connectors": []})


def show_local_tokens(account: Account, _request: Request, _who: Who) -> Answer:
    """Give all tokens away, as the vendor's local container does."""
    name = "Tinybird_Local_Testing"
    found = next((w for w in account.mains() if w.name == name), None)
    workspace = found or account.create(name, Dialect.FORWARD)
    told = {"user_token": account.user_token, "admin_token": workspace.token}
    return as_json({**told, "workspace_admin_token": workspace.token})


def record_release(account: Account, request: Request, who: Who) -> Answer:
    """Remember the commit that a Classic workspace serves."""
    workspace = _own(account, request, who)
    commit = request.form.get("commit")
    if not commit:
        raise Refused(400, "commit is required")
    if workspace.commit and request.form.get("force") != "true":
        raise Refused(400, f"There is a release already: {workspace.commit}. Use force=true")
    workspace.commit = commit
    return as_json(release(workspace) or {})


def update_release(account: Account, request: Request, who: Who) -> Answer:
    """Move the release that is live to another commit or version."""
    workspace = _own(account, request, who)
    workspace.commit = request.form.get("commit", workspace.commit)
    workspace.semver = request.form.get("new_semver", workspace.semver)
    return as_json(release(workspace) or {})


def show_releases(account: Account, request: Request, who: Who) -> Answer:
    """List the one release that is live, if there is one."""
    found = release(_own(account, request, who))
    return as_json({"releases": [found] if found else []})


def release(workspace: Workspace) -> Json | None:
    """Return a Classic workspace's release."""
    if workspace.commit is None:
        return None
    return {"commit": workspace.commit, "semver": workspace.semver, "status": "live"}


def describe(account: Account, workspace: Workspace) -> Json:
    """Return a workspace as the API shows it, with its admin token."""
    found = release(workspace)
    return {
        "id": workspace.id,
        "name": workspace.name,
        "token": workspace.token,
        "main": workspace.main,
        "is_branch": workspace.main is not None,
        "is_forward": workspace.dialect is Dialect.FORWARD,
        "created_at": workspace.created_at,
        "owner": account.user,
        "user_id": account.user,
        "user_email": EMAIL,
        "role": "admin",
        "plan": "dev",
        "members": [{"id": account.user, "email": EMAIL, "role": "admin", "active": True}],
        "release": found,
        "releases": [found] if found else [],
        "organization": _organization(account),
        "organization_id": account.organization,
    }


def _organization(account: Account) -> Json:
    plan = {"billing": "enterprise", "name": "Enterprise"}
    return {"id": account.organization, "name": "Example", "domain": "example.com", "plan": plan}


def _own(account: Account, request: Request, who: Who) -> Workspace:
    found = account.find(request.groups["id"])
    if who.right.value != "user" and found is not who.workspace:
        raise Refused(403, "This token is another workspace's")
    return found
