"""What `meltano run` does with a list of jobs and blocks: which plug-ins, and which state. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dataops_dagster.meltano.model import Plugin


@dataclass(frozen=True)
class Pipeline:
    """Blocks that Meltano runs as one: an extractor into a loader, or one plug-in's command.

    `state_id` names the state of an incremental load; a command has none.
    """

    plugins: tuple[Plugin, ...]
    state_id: str = ""
