"""Commands that look into a Meltano project's configuration: what is set, and how environments differ."""

from __future__ import annotations

from pathlib import Path

import click

from dataops_dagster import readings
from dataops_dagster.cli.session import Session, progress
from dataops_dagster.cli.shown import escape, table
from dataops_dagster.errors import ConfigError
from dataops_dagster.meltano import comparing, pages
from dataops_dagster.meltano.comparing import Side
from dataops_dagster.plan import as_data
from dataops_dagster.store import store_of

_HEADER = ("plug-in", "setting", "value", "layer", "at")
_ALL = 100_000


@click.group()
def config() -> None:
    """Show what Meltano is configured to do in a workspace, and how workspaces differ."""


@config.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--plugin", metavar="NAME", help="Only the settings of this plug-in.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the comparison as a page, too.",
)
@click.pass_obj
def diff(session: Session, one: str, other: str, *, plugin: str | None, html: Path | None) -> None:
    """Show in what workspace A is configured otherwise than B, each in its environment.

    WORKSPACE@ENVIRONMENT reads a workspace's head in another environment.
    """
    ours, theirs = _side(session, one), _side(session, other)
    if plugin:
        _known(plugin, ours, theirs)
    found = comparing.compare(ours, theirs, plugin)
    tables, nothing = comparing.tables(found), f"{one} and {other} do not differ"
    if html:
        text = pages.page(f"Configuration of {one} and {other}", tables, nothing=nothing)
        html.write_text(text, encoding="utf-8")
    told = [table(header, rows, title=title, most=_ALL) for title, header, rows in tables]
    session.show(as_data(found), *told, *([] if told else [escape(nothing)]))


@config.command()
@click.argument("workspace")
@click.argument("plugin", required=False)
@click.pass_obj
def show(session: Session, workspace: str, plugin: str | None) -> None:
    """Show every setting of WORKSPACE at its head, or of its PLUGIN, and where each comes from."""
    side = _side(session, workspace)
    if plugin:
        _known(plugin, side)
    rows = comparing.listing(side, plugin)
    problems = [escape(f"could not be read: {told}") for told in side.problems]
    data = {
        "workspace": side.name,
        "environment": side.environment,
        "settings": [dict(zip(_HEADER, row, strict=True)) for row in rows],
        "problems": side.problems,
    }
    listed = table(_HEADER, rows, title=f"{side.name} in {side.environment}", most=_ALL)
    session.show(data, listed, *problems)


def _side(session: Session, name: str) -> Side:
    """Read a workspace's head, in its own environment or the one behind an @."""
    wanted, _, environment = name.partition("@")
    project, workspace = session.workspace(wanted)
    with progress(session, f"reading the configuration of {wanted}"):
        reading = readings.at_head(project, workspace, store=store_of(project))
    environment = environment or workspace.environment
    if environment not in reading.environments:
        known = ", ".join(reading.environments) or "none"
        raise ConfigError.at(
            f"WORKSPACE {name}",
            f"its meltano.yml defines no environment {environment}",
            f"name one after an @, or mend the file; defined: {known}",
        )
    return Side(name, reading, environment)


def _known(plugin: str, *sides: Side) -> None:
    known = sorted({name for side in sides for _, name in side.reading.plugins})
    if plugin not in known:
        raise ConfigError.at(
            f"PLUGIN {plugin}", "is no plug-in there", f"name one of {', '.join(known)}"
        )
