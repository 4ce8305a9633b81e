"""Arguments and options that several commands share."""

from __future__ import annotations

import getpass

import click

from dataops_dagster.model import Allowance

target = click.argument("target")
commit = click.option(
    "--commit", help="An upstream commit, by its full id.  [default: the newest the gate takes]"
)
allow = click.option(
    "--allow",
    multiple=True,
    type=click.Choice([allowance.value for allowance in Allowance]),
    help="Allow this once: an upstream of unrelated history, one that was rewritten, or theirs over"
    " what the target got by itself.",
)
reason = click.option("--reason", required=True, help="Why; recorded, and shown to others.")
reason_if_any = click.option("--reason", default="", help="Why; recorded.")
expires = click.option(
    "--expires", default="", metavar="WHEN", help="7d, or a time such as 2026-12-24T18:00+01:00."
)
by = click.option(
    "--by", default=getpass.getuser, show_default="this user", help="Who decides; recorded."
)
