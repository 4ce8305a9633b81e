"""Commands that only look: check, status, plan, why, log, audit, schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dataops_dagster import audit as auditing
from dataops_dagster import clock, config, execution, git, promotion
from dataops_dagster.cli import meltano_cloud, options, readiness, tinybird
from dataops_dagster.cli.act import Asked, consider
from dataops_dagster.cli.session import Session, end, error_data, progress
from dataops_dagster.cli.shown import escape, in_words, table
from dataops_dagster.errors import DataOpsError
from dataops_dagster.gate.verdicts import lines
from dataops_dagster.heads import Head, look_up_all
from dataops_dagster.model import Allowance, Considered, Effects, Held, Plan, Ready
from dataops_dagster.plan import as_data
from dataops_dagster.platforms.tinybird import where_of
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of


@click.command()
@click.pass_obj
def check(session: Session) -> None:
    """Check the configuration, repositories and platforms, and Dagster's instance if there is one."""
    rows, broken = list[tuple[str, ...]](), list[DataOpsError]()
    projects = session.projects()
    for project in projects:
        with progress(session, f"asking the repositories of {project.name}"):
            heads = look_up_all(project)
        rows += [_answered(project, name, head) for name, head in heads.items()]
        broken += [head for head in heads.values() if isinstance(head, DataOpsError)]
    instance, unanswered = readiness.look(session, projects)
    broken += unanswered
    header = ("project", "workspace", "state", "answer")
    served, by_hand, wrong = meltano_cloud.checked(session, projects)
    at_tinybird, silent = tinybird.looked(session, projects)
    broken += [*wrong, *silent]
    said = git.version()
    by_hand += [advice] if (advice := git.advice(said)) else []
    broken += [old] if (old := git.unsupported(said)) else []
    data = {
        "git": said,
        "workspaces": [dict(zip(header, row, strict=True)) for row in rows],
        "meltano_cloud": [dict(zip(meltano_cloud.HEADER, row, strict=True)) for row in served],
        "tinybird": tinybird.as_dicts(at_tinybird),
        "by_hand": by_hand,
        "instance": [as_data(finding) for finding in instance],
        "errors": [error_data(error) for error in broken],
    }
    session.show(
        data,
        f"{escape(said)}; the configuration is well formed",
        table(header, rows),
        *([table(meltano_cloud.HEADER, served)] if served else []),
        *([table(tinybird.HEADER, at_tinybird)] if at_tinybird else []),
        *(f"by hand: {escape(reminder)}" for reminder in by_hand),
        *readiness.tables(instance),
        *(f"[red]{escape(str(error))}[/]" for error in broken),
    )
    if broken:
        sys.exit(max(error.exit_code for error in broken))


def _answered(project: Project, name: str, head: Head | DataOpsError) -> tuple[str, str, str, str]:
    """Return the row of a workspace: what its repository answered."""
    if isinstance(head, DataOpsError):
        return project.name, name, "failed", "see below"
    if head.commit is None:
        branch = project.workspaces[name].branch
        return project.name, name, "empty", f"there is no branch {branch} yet"
    return project.name, name, "ok", f"at {head.commit[:12]}"


@click.command()
@click.pass_obj
def status(session: Session) -> None:
    """Show where each workspace is, and what each target waits for."""
    rows, broken = [], list[DataOpsError]()
    for project in session.projects():
        with progress(session, f"looking at {project.name}"):
            heads = look_up_all(project)
            for workspace in project.workspaces.values():
                found = heads[workspace.name]
                head = None if isinstance(found, DataOpsError) else found
                standing = _standing(session, project, workspace, heads)
                if isinstance(standing, DataOpsError):
                    broken.append(standing)
                    standing = f"could not find out: {standing}"
                rows.append(
                    (
                        project.name,
                        workspace.name,
                        workspace.environment,
                        ((head and head.commit) or "")[:12],
                        ((head and head.release) or "").rpartition("/")[2],
                        where_of(workspace.tinybird) if workspace.tinybird else "",
                        standing,
                    )
                )
    header = ("project", "workspace", "environment", "head", "release", "tinybird", "state")
    shown = -1 if any(row[-2] for row in rows) else -2
    session.show(
        [dict(zip(header, row, strict=True)) for row in rows],
        table(header[:shown], [row[:shown] for row in rows]),
        *(f"[bold]{escape(row[1])}[/]: {escape(row[-1])}" for row in rows),
    )
    if broken:
        sys.exit(max(error.exit_code for error in broken))


def _standing(
    session: Session,
    project: Project,
    workspace: Workspace,
    heads: Mapping[str, Head | DataOpsError],
) -> str | DataOpsError:
    """Say in words where a workspace stands, or why that could not be found out."""
    head = heads[workspace.name]
    if isinstance(head, DataOpsError):
        return head
    if not workspace.upstream:
        return "source"
    try:
        considered = promotion.consider(
            project,
            workspace,
            store=store_of(project),
            book=session.book,
            now=clock.now(),
            heads=heads,
        )
    except DataOpsError as error:
        return error
    return in_words(considered)


@click.command()
@options.target
@options.commit
@options.allow
@click.pass_obj
def plan(session: Session, target: str, commit: str | None, allow: tuple[str, ...]) -> None:
    """Show what promoting into TARGET would do now; writes nothing."""
    project, workspace = session.target(target)
    asked = Asked(commit, None, tuple(map(Allowance, allow)))
    found = consider(session, project, workspace, asked)
    made = found.plan if isinstance(found, Ready | Held) else None
    end(session, found, foreseen(session, project, workspace, made) if made else None)


def foreseen(session: Session, project: Project, target: Workspace, plan: Plan) -> Effects | None:
    """Ask the platform what deploying the planned commit would do, where it can say."""
    with progress(session, f"asking the platform of {target.name}"):
        approved = session.approved(project, target)
        return execution.foresee(project, target, plan, store=store_of(project), approved=approved)


@click.command()
@options.target
@click.pass_obj
def why(session: Session, target: str) -> None:
    """Say what TARGET waits for: every condition, who can change it, and when it can pass."""
    project, workspace = session.target(target)
    found = consider(session, project, workspace, Asked())
    verdicts = found.verdicts if isinstance(found, Ready | Held) else ()
    data = {
        "answer": type(found).__name__,
        "message": in_words(found),
        "gate": [as_data(verdict) for verdict in verdicts],
    }
    told = [escape(line) for line in lines(verdicts, depth=1)]
    session.show(data, f"[bold]{workspace.name}[/]: {escape(_short(found))}", *told)


def _short(found: Considered) -> str:
    return "not yet" if isinstance(found, Held) else in_words(found)


@click.command()
@options.target
@click.option(
    "--repository",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Audit this clone or mirror of it instead, without any network.",
)
@click.pass_obj
def audit(session: Session, target: str, repository: Path | None) -> None:
    """Prove from git alone which commits of TARGET came through dataops, and which did not."""
    project, workspace = session.target(target)
    if repository:
        project, workspace = _at(project, workspace, repository)
    with progress(session, f"auditing {workspace.name}"):
        entries = auditing.audit(project, workspace, store=store_of(project))
    rows = [
        (
            entry.commit.id[:12],
            entry.how.value,
            entry.equality,
            entry.release.rpartition("/")[2] or entry.problem,
            f"{entry.commit.subject} ({entry.commit.author})",
        )
        for entry in entries
    ]
    header = ("commit", "how", "equality", "release", "subject")
    others = [entry for entry in entries if entry.how is auditing.How.OTHER]
    summary = f"{len(entries)} commit(s), {len(others)} not through dataops"
    session.show([as_data(entry) for entry in entries], table(header, rows), summary)


def _at(project: Project, target: Workspace, folder: Path) -> tuple[Project, Workspace]:
    """Return the project with the target's repository in a folder of this machine."""
    here: dict[str, Any] = {
        "repository": folder.resolve().as_uri(),
        "credential": None,
        "ssh": None,
    }
    moved = target.model_copy(update=here)
    workspaces = {**project.workspaces, target.name: moved}
    update = {"workspaces": workspaces, "protocols": (*project.protocols, "file")}
    return project.model_copy(update=update), moved


@click.command()
@options.target
@click.pass_obj
def log(session: Session, target: str) -> None:
    """Show TARGET's releases, newest first, read from its repository alone."""
    project, workspace = session.target(target)
    store = store_of(project)
    with progress(session, f"reading the releases of {workspace.name}"):
        found = promotion.releases(project, workspace, store=store)
    rows = [
        (
            release.tag.rpartition("/")[2],
            f"{release.upstream} {release.upstream_commit[:12]}",
            release.equality,
            f"override: {release.override}" if release.override else "; ".join(release.evidence),
        )
        for release in found
    ]
    header = ("release", "from", "equality", "evidence")
    session.show([as_data(release) for release in found], table(header, rows))


@click.command()
def schema() -> None:
    """Print the JSON Schema of dataops.yaml."""
    click.echo(json.dumps(config.schema(), indent=2))
