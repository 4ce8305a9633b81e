"""Names the Meltano command line that the demo runs; installs nothing by itself."""

from __future__ import annotations

from collections.abc import Callable

from dataops_dagster.demo.tools import Tool

MELTANO = Tool("meltano", "meltano>=4.4,<5", "meltano-4", "DATAOPS_MELTANO")


def command(on_line: Callable[[str], None]) -> str:
    """Return the path of the meltano command, installing it when it is not there."""
    return MELTANO.command(on_line)
