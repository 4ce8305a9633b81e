"""Makes, lists and deletes branches, which the API calls environments, and tells how jobs ended."""

from __future__ import annotations

import uuid

from dataops_dagster.testing.tinybird import resources
from dataops_dagster.testing.tinybird.account import Account, Dialect, Who, Workspace, now
from dataops_dagster.testing.tinybird.exchange import Answer, Json, Refused, Request, as_json
from dataops_dagster.testing.tinybird.workspaces import describe


def show_all(account: Account, _request: Request, who: Who) -> Answer:
    """List the branches of a workspace."""
    found = account.branches(_main(account, who))
    return as_json({"environments": [describe(account, b) for b in found]})


def create(account: Account, request: Request, who: Who) -> Answer:
    """Make a branch with the workspace's resources; with `data=last_partition` also its rows."""
    main = _main(account, who)
    if len(account.branches(main)) >= account.branch_limit:
        raise Refused(400, f"The limit of {account.branch_limit} branches is reached")
    name = request.form.get("name", "")
    if not name.isidentifier():
        raise Refused(400, f"'{name}' is no name of a branch: use letters, digits and _")
    branch = account.create(name, main.dialect, main=main.id)
    branch.shared, branch.commit = dict(main.shared), main.commit
    resources.apply(account, branch, main.resources)
    if branch.dialect is Dialect.FORWARD:
        branch.deployments[0].resources = dict(branch.resources)
    rows = request.form.get("data") == "last_partition"
    done = resources.copy_rows(account, main, branch) if rows else []
    partitions = [{"datasource": {"name": name}, "partitions": []} for name in done]
    job = add_job(account, request, "data_branch", {"partitions": partitions})
    return as_json({"job": job, "workspace": describe(account, branch)})


def delete(account: Account, request: Request, _who: Who) -> Answer:
    """Delete a branch by its id."""
    found = account.workspaces.get(request.groups["id"])
    if found is None or found.main is None:
        raise Refused(404, f"There is no branch {request.groups['id']}")
    account.delete(found)
    return Answer(204)


def show_jobs(account: Account, _request: Request, _who: Who) -> Answer:
    """List all jobs, the newest first."""
    return as_json({"jobs": [*reversed(account.jobs.values())]})


def show_job(account: Account, request: Request, _who: Who) -> Answer:
    """Say how a job ended: all end well at once."""
    found = account.jobs.get(request.groups["id"])
    if found is None:
        raise Refused(404, f"There is no job {request.groups['id']}")
    return as_json(found)


def add_job(account: Account, request: Request, kind: str, result: Json) -> Json:
    """Return a new job that has ended well."""
    made = str(uuid.uuid4())
    url = f"http://{request.headers.get('host', '')}/v0/jobs/{made}"
    told = {"id": made, "job_id": made, "job_url": url, "kind": kind, "status": "done"}
    account.jobs[made] = {**told, "created_at": now(), "result": result, **result}
    return account.jobs[made]


def _main(account: Account, who: Who) -> Workspace:
    if who.workspace is None:
        raise Refused(404, "This account has no workspace")
    return account.workspaces[who.workspace.main or who.workspace.id]
