"""The command that says whether a commit would do at Tinybird; changes no workspace."""

from __future__ import annotations

import sys

import click

from dataops_dagster import clock, execution, trial
from dataops_dagster.cli import shown
from dataops_dagster.cli.interrupts import orderly
from dataops_dagster.cli.session import SAID_NO, Session
from dataops_dagster.cli.tinybird import echo, find
from dataops_dagster.errors import ConfigError
from dataops_dagster.plan import as_data
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of
from dataops_dagster.trial import Trial, Way

_HEADER = ("workspace", "way", "answer", "detail")


@click.command()
@click.argument("workspaces", nargs=-1, required=True, metavar="WORKSPACE...")
@click.option(
    "--of", "origin", metavar="WORKSPACE", help="Whose commit.  [default: the first one's]"
)
@click.option("--commit", help="A commit of its branch, by its full id.  [default: its head]")
@click.option("--branch", is_flag=True, help="Deploy to an ephemeral branch, and run the tests.")
@click.pass_obj
def ci(
    session: Session,
    workspaces: tuple[str, ...],
    origin: str | None,
    commit: str | None,
    *,
    branch: bool,
) -> None:
    """Say whether a commit could be deployed to each WORKSPACE; production is only checked."""
    project, named = _named(session, workspaces)
    source = project.workspaces.get(origin) if origin else named[0]
    if source is None:
        known = ", ".join(project.workspaces)
        raise ConfigError.at("--of", f"there is no workspace {origin}", f"name one of {known}")
    store = store_of(project)
    with orderly():
        pinned = execution.pin(project, source, commit, store=store)
        trials = trial.perform(
            project,
            named,
            origin=source,
            commit=pinned,
            way=Way.BRANCH if branch else Way.CHECK,
            store=store,
            now=clock.now(),
            on_line=echo,
        )
        done = list(trials)
    _show(session, pinned, done)


def _named(session: Session, names: tuple[str, ...]) -> tuple[Project, list[Workspace]]:
    found = [find(session, name) for name in names]
    projects = {project.name: project for project, _, _ in found}
    if len(projects) > 1:
        raise ConfigError.at("WORKSPACE", "stand in several projects", "name those of one project")
    return next(iter(projects.values())), [workspace for _, workspace, _ in found]


def _show(session: Session, commit: str, done: list[Trial]) -> None:
    rows = [(t.workspace, t.way.value, "ok" if t.passed else "no", t.detail) for t in done]
    data = {"commit": commit, "trials": [as_data(trial) for trial in done]}
    session.show(data, f"commit {commit}", shown.table(_HEADER, rows))
    sys.exit(0 if all(trial.passed for trial in done) else SAID_NO)
