"""Which workspace on Meltano Cloud serves one of ours, and what speaks against it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dataops_dagster import urls
from dataops_dagster.errors import Problem
from dataops_dagster.meltano_cloud.model import CloudWorkspace
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_steps import MeltanoCloudStep

IN_THE_APP = "in the app: the drop-down menu, Settings, “Active environment”, Save"
"""No documented call sets it. Source: <https://docs.meltano.com/meltano-cloud/workspace-settings>."""


@dataclass(frozen=True)
class Standing:
    """What serves a workspace of ours, what is wrong with that, and what a person must look after.

    `cloud` is None only where there is a problem.
    """

    workspace: str
    cloud: CloudWorkspace | None
    problems: tuple[Problem, ...] = ()
    by_hand: tuple[str, ...] = ()


def deployed(project: Project) -> Iterator[tuple[Workspace, MeltanoCloudStep]]:
    """Yield the workspaces that Meltano Cloud deploys."""
    for workspace in project.workspaces.values():
        if isinstance(workspace.deploy, MeltanoCloudStep):
            yield workspace, workspace.deploy


def judge(project: Project, workspace: Workspace, listed: Sequence[CloudWorkspace]) -> Standing:
    """Say how a workspace stands among those that the API of its step lists."""
    step = workspace.deploy
    assert isinstance(step, MeltanoCloudStep), f"{workspace.name} is not deployed by Meltano Cloud"
    where = f"workspaces.{workspace.name}"
    found = matching(step.workspace, listed)
    if len(found) != 1:
        return Standing(
            workspace.name, None, (_not_one(f"{where}.deploy.workspace", step.workspace, found),)
        )
    (cloud,) = found
    twins = [
        other.name
        for other, its in deployed(project)
        if other.name != workspace.name
        and its.url == step.url
        and cloud in matching(its.workspace, listed)
    ]
    problems = [*_differences(where, workspace, cloud)]
    if twins:
        problems.append(
            Problem(
                f"{where}.deploy.workspace",
                f"“{cloud.name}” is also what {', '.join(twins)} is deployed to",
                "give each workspace one of its own on Meltano Cloud",
            )
        )
    by_hand = () if cloud.environment else (_by_hand(workspace, cloud),)
    return Standing(workspace.name, cloud, tuple(problems), by_hand)


def matching(name_or_id: str, listed: Iterable[CloudWorkspace]) -> list[CloudWorkspace]:
    """Return the workspace of that id, or else those of that name."""
    known = list(listed)
    by_id = [cloud for cloud in known if cloud.id == name_or_id]
    return by_id or [cloud for cloud in known if cloud.name == name_or_id]


def _not_one(where: str, wanted: str, found: Sequence[CloudWorkspace]) -> Problem:
    if found:
        ids = ", ".join(cloud.id for cloud in found)
        return Problem(where, f"several are called “{wanted}”", f"write the id of one: {ids}")
    return Problem(
        where,
        f"there is no “{wanted}”, or the token's owner is not a member of it",
        "`dataops meltano-cloud workspaces` lists those that there are",
    )


def _differences(where: str, ours: Workspace, cloud: CloudWorkspace) -> Iterator[Problem]:
    if _place(ours.repository) != _place(cloud.repository):
        yield Problem(
            f"{where}.repository",
            f"“{cloud.name}” is another repository: {cloud.repository or 'none is told'}",
            "write that one here, or name the workspace of this one under deploy.workspace",
        )
    if cloud.branch not in (None, ours.branch):
        yield Problem(
            f"{where}.branch",
            f"“{cloud.name}” is deployed from branch {cloud.branch}",
            "write that one here, or change it in the app: Settings, “Repository Branch”",
        )
    if cloud.environment not in (None, ours.environment):
        yield Problem(
            f"{where}.environment",
            f"the active environment of “{cloud.name}” is {cloud.environment}",
            f"set it to {ours.environment} {IN_THE_APP}",
        )


def _by_hand(ours: Workspace, cloud: CloudWorkspace) -> str:
    return (
        f"the API does not tell the active environment of “{cloud.name}”:"
        f" see that it is {ours.environment}, {IN_THE_APP}"
    )


def _place(url: str) -> str:
    parsed = urls.parse(url)
    return parsed.place if parsed else url
