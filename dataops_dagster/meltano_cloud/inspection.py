"""How the workspaces of a project stand on Meltano Cloud, as its API says it now; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from dataops_dagster.errors import DataOpsError
from dataops_dagster.meltano_cloud.api import Api
from dataops_dagster.meltano_cloud.identity import Standing, deployed, judge
from dataops_dagster.meltano_cloud.model import CloudWorkspace
from dataops_dagster.settings import Project


def inspect(project: Project) -> Mapping[str, Standing | DataOpsError]:
    """Look at every workspace that Meltano Cloud deploys; an error where its server failed us."""
    listed: dict[Api, list[CloudWorkspace] | DataOpsError] = {}
    found: dict[str, Standing | DataOpsError] = {}
    for workspace, step in deployed(project):
        api = Api.of(step)
        if api not in listed:
            listed[api] = _list(api)
        known = listed[api]
        found[workspace.name] = (
            known if isinstance(known, DataOpsError) else judge(project, workspace, known)
        )
    return found


def _list(api: Api) -> list[CloudWorkspace] | DataOpsError:
    try:
        return api.workspaces()
    except DataOpsError as error:
        return error
