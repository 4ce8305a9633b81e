"""The command `dataops`: the same functions as in Dagster, for a terminal and for machines.

Dagster is imported only by commands that need its instance.
"""

from __future__ import annotations

from pathlib import Path

import click

from dataops_dagster import __version__, config
from dataops_dagster.cli import (
    act,
    configuration,
    look,
    meltano_cloud,
    tinybird,
    tinybird_act,
    tinybird_migration,
    tinybird_trial,
    tour,
)
from dataops_dagster.cli.session import Command, Session


@click.group(cls=Command)
@click.version_option(__version__)
@click.option(
    "--config",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A dataops.yaml; may be given several times.  [default: $DATAOPS_CONFIG, dataops.yaml]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def main(ctx: click.Context, paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Promote data workspaces safely: production gets what a staging run proved."""
    ctx.obj = Session(paths or config.default_paths(), as_json)


for command in (
    look.check,
    look.status,
    look.plan,
    look.why,
    look.log,
    look.audit,
    act.promote,
    act.rollback,
    act.backport,
    act.approve,
    act.hold,
    act.reject,
    act.lift,
    configuration.config,
    meltano_cloud.meltano_cloud,
    tinybird.tinybird,
    look.schema,
    tour.demo,
):
    main.add_command(command)

for command in (
    tinybird_trial.ci,
    tinybird_act.workspaces,
    tinybird_act.create,
    tinybird_act.token,
    tinybird_act.deploy,
    tinybird_act.recreate,
    tinybird_migration.migrate_prefixes,
):
    tinybird.tinybird.add_command(command)
