"""The command that shows it all on repositories of its own."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from dataops_dagster.cli.interrupts import orderly
from dataops_dagster.cli.session import Session

INTERRUPTED = 130


@click.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="The folder that everything of the demo goes into.",
)
@click.option("--open", "keep_open", is_flag=True, help="Keep Dagster running and open its UI.")
@click.option("--reopen", is_flag=True, help="Only open the UI on what an earlier demo left.")
@click.option("--port", default=3000, show_default=True, help="Where the UI listens.")
@click.pass_obj
def demo(session: Session, home: Path, port: int, *, keep_open: bool, reopen: bool) -> None:
    """Watch a change travel to production, and another that must not."""
    from dataops_dagster.demo import story

    # Scripts start what ends with `&` so that it ignores Ctrl-C, and all that it starts does too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with orderly():
            if reopen:
                story.reopen(home, session.out, port=port)
            else:
                story.tell(home, session.out, keep_open=keep_open, port=port)
    except KeyboardInterrupt:
        session.err.print("ended; no process is left")
        sys.exit(INTERRUPTED)
