"""The command that takes prefixes of one workspace at Tinybird apart into workspaces."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass

import click

from dataops_dagster.api import Api
from dataops_dagster.cli import shown
from dataops_dagster.cli.interrupts import orderly
from dataops_dagster.cli.session import SAID_NO, Session
from dataops_dagster.cli.shown import escape
from dataops_dagster.cli.tinybird import Found, echo, find, prepared
from dataops_dagster.errors import ConfigError
from dataops_dagster.plan import as_data
from dataops_dagster.platforms import tinybird as platform
from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.tinybird import migration
from dataops_dagster.tinybird.client import Client, secret
from dataops_dagster.tinybird.migration import Migration
from dataops_dagster.tinybird.model import Refusal, Resource

_HEADER = ("workspace", "kind", "old name", "rows", "new name", "rows there", "answer")
_VARIABLE = "--token-variable"


@dataclass(frozen=True)
class _Old:
    """The workspace with the prefixes: what is there, and by prefix the names without it."""

    client: Client
    there: Collection[Resource]
    names: dict[str, dict[str, str]]


@click.command("migrate-prefixes")
@click.argument("pairs", nargs=-1, required=True, metavar="PREFIX=WORKSPACE...")
@click.option(
    _VARIABLE,
    "variable",
    required=True,
    metavar="NAME",
    help="The variable that holds a token of the workspace with the prefixes.",
)
@click.option("--apply", is_flag=True, help="Deploy and copy; without it, only show what would be.")
@click.pass_obj
def migrate_prefixes(
    session: Session, pairs: tuple[str, ...], variable: str, *, apply: bool
) -> None:
    """Move what begins with each PREFIX into its WORKSPACE: the project, and the rows.

    Deletes nothing. Call it again when it broke off: what was copied is not copied twice.
    """
    wanted = _wanted(session, pairs)
    old = _look(wanted, variable)
    with orderly():
        done = [_one(session, old, prefix, f, apply=apply) for prefix, f in wanted.items()]
    _show(session, done, apply=apply)


def _wanted(session: Session, pairs: tuple[str, ...]) -> dict[str, Found]:
    """Return the workspaces by prefix; raises `ConfigError`."""
    found = dict[str, Found]()
    for pair in pairs:
        prefix, separator, name = pair.partition("=")
        prefix = prefix.rstrip("_")
        if not separator or not prefix or prefix in found:
            problem = "is no PREFIX=WORKSPACE, or names a prefix twice"
            raise ConfigError.at(pair, problem, "write staging=staging")
        found[prefix] = find(session, name)
    if len({(project.name, workspace.name) for project, workspace, _ in found.values()}) < len(
        found
    ):
        raise ConfigError.at("PREFIX", "two have one workspace", "name one for each of them")
    if len({settings.host for _, _, settings in found.values()}) > 1:
        raise ConfigError.at("WORKSPACE", "stand on several hosts", "name those of one host")
    return found


def _look(wanted: dict[str, Found], variable: str) -> _Old:
    _, _, settings = next(iter(wanted.values()))
    token = secret(variable, _VARIABLE)
    api = Api(settings.host, f"Tinybird at {settings.host}", _VARIABLE, token)
    # Prefixes are Classic's; what is asked here, a workspace of Forward's answers, too.
    client = Client(api, Dialect.CLASSIC)
    there = client.resources()
    return _Old(client, there, migration.split([r.name for r in there], list(wanted)))


def _one(
    session: Session, old: _Old, prefix: str, found: Found, *, apply: bool
) -> Migration | Refusal:
    with prepared(session, found, None) as task:
        order = platform.order(platform.deploy_step(found[1]), task, echo)
        made = migration.plan(old.client, order, prefix, there=old.there, names=old.names[prefix])
        if not apply or isinstance(made, Refusal):
            return made
        return migration.carry_out(old.client, order, made)


def _show(session: Session, done: list[Migration | Refusal], *, apply: bool) -> None:
    rows = [
        (made.workspace, m.kind.value, m.old, _told(m.rows), m.new, _told(m.rows_there), m.answer)
        for made in done
        if isinstance(made, Migration)
        for m in made.moves
    ]
    notes = [escape(str(made)) for made in done if isinstance(made, Refusal)]
    notes += [
        escape(f"left alone, the data project does not know them: {', '.join(made.unknown)}")
        for made in done
        if isinstance(made, Migration) and made.unknown
    ]
    hint = () if apply or not rows else ("nothing is done yet: add --apply",)
    data = [{"problem": str(m)} if isinstance(m, Refusal) else _as_data(m) for m in done]
    session.show(data, shown.table(_HEADER, rows), *notes, *hint)
    is_well = all(isinstance(m, Migration) and (m.is_done or not apply) for m in done)
    sys.exit(0 if is_well else SAID_NO)


def _as_data(made: Migration) -> dict[str, object]:
    moves = [{**as_data(move), "answer": move.answer} for move in made.moves]
    return {**as_data(made), "moves": moves}


def _told(count: int | None) -> str:
    return "" if count is None else str(count)
