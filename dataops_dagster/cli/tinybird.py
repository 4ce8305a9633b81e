"""Commands about workspaces at Tinybird: what a deployment would do, and where each one stands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

import click

from dataops_dagster import execution
from dataops_dagster.cli import shown
from dataops_dagster.cli.session import SAID_NO, Session, progress
from dataops_dagster.cli.shown import escape
from dataops_dagster.errors import DataOpsError
from dataops_dagster.model import Effects
from dataops_dagster.plan import as_data
from dataops_dagster.platforms import Purpose, Task
from dataops_dagster.platforms import tinybird as platform
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_tinybird import Tinybird
from dataops_dagster.store import store_of
from dataops_dagster.tinybird import standing

Found = tuple[Project, Workspace, Tinybird]
"""A workspace that is one at Tinybird."""

HEADER = ("project", "workspace", "host", "dialect", "name", "id", "live", "problem")


@click.group()
def tinybird() -> None:
    """Look after workspaces at Tinybird."""


def all_of(projects: Sequence[Project]) -> list[Found]:
    """Return every workspace that is one at Tinybird."""
    return [
        (project, workspace, workspace.tinybird)
        for project in projects
        for workspace in project.workspaces.values()
        if workspace.tinybird
    ]


def find(session: Session, name: str) -> Found:
    """Find one by `WORKSPACE` or `PROJECT/WORKSPACE`; raises `ConfigError`."""
    project, workspace = session.named(
        "WORKSPACE",
        name,
        "workspace at Tinybird",
        lambda project: (found for _, found, _ in all_of([project])),
        otherwise="add tinybird: to a workspace",
    )
    assert workspace.tinybird
    return project, workspace, workspace.tinybird


@contextlib.contextmanager
def prepared(session: Session, found: Found, commit: str | None) -> Iterator[Task]:
    """Make a workspace's commit, or its head, ready to be deployed by hand."""
    project, workspace, _ = found
    store = store_of(project)
    with execution.prepared(
        project,
        workspace,
        commit=execution.pin(project, workspace, commit, store=store),
        run_id="",
        store=store,
        purpose=Purpose.DEPLOY,
        approved=session.approved(project, workspace),
    ) as task:
        yield task


def echo(line: str) -> None:
    """Tell people a line of what goes on."""
    click.echo(line, err=True)


@tinybird.command("plan")
@click.argument("workspace")
@click.option("--commit", help="A commit of its branch, by its full id.  [default: its head]")
@click.pass_obj
def plan(session: Session, workspace: str, commit: str | None) -> None:
    """Show what deploying WORKSPACE would create, change and delete; writes nothing."""
    found = find(session, workspace)
    asking = progress(session, f"asking Tinybird about {found[1].name}")
    with asking, prepared(session, found, commit) as task:
        effects = platform.foresee(platform.deploy_step(found[1]), task)
    _show(session, task.commit, effects)
    sys.exit(0 if effects.digest else SAID_NO)


def _show(session: Session, commit: str, effects: Effects) -> None:
    data = {"commit": commit, **as_data(effects)}
    session.show(data, f"commit {commit}", *shown.effects(effects))


@tinybird.command("status")
@click.option(
    "--drift", is_flag=True, help="Compare it with the commit that was deployed; takes a moment."
)
@click.pass_obj
def status(session: Session, *, drift: bool) -> None:
    """Show which workspace each token belongs to, what is live there, and what is left half-done."""
    rows, broken = looked(session, session.projects(), drift=drift)
    errors = [f"[red]{escape(str(error))}[/]" for error in broken]
    session.show(as_dicts(rows), shown.table(HEADER, rows), *errors)
    if broken:
        sys.exit(max(error.exit_code for error in broken))


def looked(
    session: Session, projects: Sequence[Project], *, drift: bool = False
) -> tuple[list[tuple[str, ...]], list[DataOpsError]]:
    """Return a row, as `HEADER` has it, for each workspace, and what could not be found out."""
    rows, broken = list[tuple[str, ...]](), list[DataOpsError]()
    for project, workspace, settings in all_of(projects):
        drifted = ""
        with progress(session, f"asking Tinybird about {workspace.name}"):
            try:
                row = standing.look(settings, f"workspaces.{workspace.name}.tinybird")
                drifted = _drift(project, workspace) if drift else ""
            except DataOpsError as error:
                broken.append(error)
                row = standing.Standing(settings.workspace, "", "", "see below")
        place = (project.name, workspace.name, settings.host, settings.dialect.value)
        problem = "; ".join(filter(None, (row.problem, drifted)))
        rows.append((*place, row.name, row.id, row.live, problem))
    return rows, broken


def as_dicts(rows: Sequence[tuple[str, ...]]) -> list[dict[str, str]]:
    """Return rows for machines."""
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def _drift(project: Project, workspace: Workspace) -> str:
    """Say how a workspace differs from the commit that Dagster says was deployed to it."""
    from dataops_dagster.orchestration.instance import HomeInstance

    commit = HomeInstance().deployed(project.name, workspace.name)
    if commit is None:
        return "Dagster has recorded no deployment to compare with"
    store = store_of(project)
    pinned = execution.pin(project, workspace, commit, store=store)
    with execution.prepared(project, workspace, commit=pinned, run_id="", store=store) as task:
        effects = platform.foresee(platform.deploy_step(workspace), task)
    if not effects.digest:
        return effects.problem
    return standing.drift(commit, effects.operations)
