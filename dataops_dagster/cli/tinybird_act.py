"""Commands that make, deploy and remake workspaces at Tinybird, one call at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from dataops_dagster.cli import shown
from dataops_dagster.cli.interrupts import orderly
from dataops_dagster.cli.session import SAID_NO, Session, progress
from dataops_dagster.cli.shown import escape
from dataops_dagster.cli.tinybird import Found, all_of, echo, find, prepared
from dataops_dagster.cli.token_file import reserved
from dataops_dagster.errors import ConfigError, DataOpsError, ToolError
from dataops_dagster.model import Outcome
from dataops_dagster.platforms import tinybird as platform
from dataops_dagster.settings import Workspace
from dataops_dagster.settings_tinybird import Fixtures
from dataops_dagster.tinybird import recreation
from dataops_dagster.tinybird.client import Account
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Listed, Refusal

_write_token = click.option(
    "--write-token",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file for its token; only you can read it.",
)
_commit = click.option(
    "--commit", help="A commit of its branch, by its full id.  [default: its head]"
)
_ENDED_WITH = {Outcome.PASSED: 0, Outcome.FAILED: SAID_NO, Outcome.ERRORED: ToolError.exit_code}


@click.command()
@click.pass_obj
def workspaces(session: Session) -> None:
    """List the workspaces that the user tokens see, and which of them are configured."""
    accounts, names = dict[tuple[str, str], tuple[str, Account]](), dict[tuple[str, str], str]()
    for project, workspace, settings in all_of(session.projects()):
        names[settings.place] = f"{project.name}/{workspace.name}"
        if settings.user_token_variable:
            key = (settings.place[0], settings.user_token_variable)
            accounts[key] = (settings.host, Account.of(settings, where_of(workspace)))
    if not accounts:
        hint = "add user_token_variable to a workspace's tinybird:"
        raise ConfigError.at("workspaces", "none of them names a user token", hint)
    rows = [
        (host, listed.name, listed.id, names.get((place, listed.name), ""))
        for (place, _), (host, account) in accounts.items()
        for listed in account.workspaces()
    ]
    header = ("host", "name", "id", "workspace")
    data = [dict(zip(header, row, strict=True)) for row in dict.fromkeys(rows)]
    session.show(data, shown.table(header, list(dict.fromkeys(rows))))


def where_of(workspace: Workspace) -> str:
    """Return the key of a workspace's settings."""
    return f"workspaces.{workspace.name}.tinybird"


@click.command()
@click.argument("workspace")
@_write_token
@click.pass_obj
def create(session: Session, workspace: str, write_token: Path | None) -> None:
    """Make the workspace at Tinybird that is configured as WORKSPACE, empty."""
    found = find(session, workspace)
    _, named, settings = found
    account = Account.of(settings, where_of(named))
    with reserved(write_token) as write:
        made = account.find(settings.workspace)
        is_new = made is None
        if made is None:
            with progress(session, f"making {settings.workspace}"):
                made = recreation.create(account, settings.workspace)
        write(made.token)
    told = "is made" if is_new else "is there already"
    _show_made(session, found, made, told, write_token)


@click.command()
@click.argument("workspace")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def token(session: Session, workspace: str, file: Path) -> None:
    """Write WORKSPACE's token, as the user token sees it, into a new FILE that only you can read."""
    found = find(session, workspace)
    _, named, settings = found
    with reserved(file) as write:
        listed = Account.of(settings, where_of(named)).find(settings.workspace)
        if listed is None:
            hint = f"make it: dataops tinybird create {named.name}"
            raise ConfigError.at(where_of(named), f"there is no {settings.workspace}", hint)
        write(listed.token)
    _show_made(session, found, listed, "is there", file)


@click.command()
@click.argument("workspace")
@_commit
@click.pass_obj
def deploy(session: Session, workspace: str, commit: str | None) -> None:
    """Deploy a commit of WORKSPACE by hand; asks no gate, and Dagster does not hear of it."""
    found = find(session, workspace)
    with orderly(), prepared(session, found, commit) as task:
        result = platform.execute(platform.deploy_step(found[1]), task, echo)
    data = {"outcome": result.outcome.value, "detail": result.detail, "commit": task.commit}
    session.show(data, f"commit {task.commit}", escape(result.detail))
    sys.exit(_ENDED_WITH[result.outcome])


@click.command()
@click.argument("workspace")
@_commit
@click.option("--confirm", metavar="NAME", help="Its name at Tinybird; asked for when not given.")
@_write_token
@click.pass_obj
def recreate(
    session: Session,
    workspace: str,
    commit: str | None,
    confirm: str | None,
    write_token: Path | None,
) -> None:
    """Drop WORKSPACE at Tinybird with all its rows and tokens, make it anew, and deploy to it.

    Call it again when it broke off: it goes on from there.
    """
    found = find(session, workspace)
    _, named, settings = found
    confirmed = _confirmed(session, found, confirm)
    with reserved(write_token) as write, orderly(), prepared(session, found, commit) as task:
        order = platform.order(platform.deploy_step(named), task, echo)
        place = recreation.renew(order, confirmed)
        if isinstance(place, Refusal):
            _refuse(session, place)
        write(place.token)
        answer = recreation.refill(order, place)
    detail = answer.detail if isinstance(answer, Deployed) else _told(answer)
    if settings.fixtures is Fixtures.NEVER:
        detail += f"; no fixture is appended, as {where_of(named)}.fixtures says"
    _show_made(session, found, place, detail, write_token)
    sys.exit(0 if isinstance(answer, Deployed) else SAID_NO)


def _confirmed(session: Session, found: Found, given: str | None) -> str:
    """Return the name that a person typed, after they were told what would be lost."""
    _, named, settings = found
    if given is not None or settings.is_production or not settings.recreate:
        return given or ""
    if session.as_json or not sys.stdin.isatty():
        hint = f"add --confirm {settings.workspace}, its name at Tinybird"
        raise ConfigError.at("--confirm", "is missing, and there is no terminal to ask", hint)
    with contextlib.suppress(DataOpsError):  # what is inconsistent may not tell
        click.echo(recreation.contents(settings, where_of(named)), err=True)
    return str(click.prompt(f"Type {settings.workspace} to drop it", default="", err=True))


def _refuse(session: Session, refusal: Refusal) -> NoReturn:
    session.show({"problem": refusal.reason, "hint": refusal.hint}, escape(str(refusal)))
    sys.exit(SAID_NO)


def _told(answer: Planned | Refusal) -> str:
    refusal = answer.refusal if isinstance(answer, Planned) else answer
    return f"made anew, and not deployed: {refusal}"


def _show_made(
    session: Session, found: Found, made: Listed, told: str, file: Path | None = None
) -> None:
    """Show a workspace, and what a person sets now; its token is shown nowhere."""
    _, named, settings = found
    to_do = []
    if os.environ.get(settings.token_variable, "").strip() != made.token:
        where = (
            f"it is in {file}" if file else f"dataops tinybird token {named.name} FILE writes it"
        )
        to_do.append(f"set {settings.token_variable} to its token: {where}")
    if settings.workspace_id not in (None, made.id):
        to_do.append(f"set {where_of(named)}.workspace_id: {made.id}")
    data = {"name": made.name, "id": made.id, "detail": told, "to_do": to_do}
    session.show(data, escape(f"{made.name} ({made.id}): {told}"), *map(escape, to_do))
