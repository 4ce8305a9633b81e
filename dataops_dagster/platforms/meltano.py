"""The `meltano` platform: `meltano run` by the real command line; Meltano is never imported."""

from __future__ import annotations

import json
from collections.abc import Callable

from dataops_dagster.folders import state_folder
from dataops_dagster.platforms.task import Result, Task, run_program
from dataops_dagster.settings import MeltanoStep


def execute(step: MeltanoStep, task: Task, on_line: Callable[[str], None]) -> Result:
    """Run jobs or blocks in the task's environment, which is always named explicitly.

    Meltano's own files go into the task's folder; its system database, which holds the state of
    incremental loads, is kept for each workspace unless MELTANO_DATABASE_URI is let through.
    """
    extra = {
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "1",
        "MELTANO_PROJECT_READONLY": "true",
        "MELTANO_SYS_DIR_ROOT": str(task.folder / "meltano"),
        "NO_COLOR": "1",
        "COLUMNS": "400",
    }
    if "MELTANO_DATABASE_URI" not in step.variables:
        folder = state_folder() / task.project / task.workspace
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        extra["MELTANO_DATABASE_URI"] = f"sqlite:///{folder}/meltano.db"
    arguments = [
        step.executable,
        "--log-format=json",
        f"--environment={task.environment}",
        "run",
        f"--run-id={task.run_id}",
        *step.run,
    ]
    return run_program(arguments, step, task, on_line, extra=extra, readable=_readable)


def _readable(line: str) -> str | None:
    """Turn one of Meltano's JSON log lines into `WHO: WHAT`; other output stays as it is."""
    try:
        entry = json.loads(line)
        event = entry["event"]
    except (ValueError, TypeError, KeyError):
        return line
    if event in _ENDINGS:
        return None  # we say ourselves how it ended
    return f"{entry.get('name', 'meltano')}: {event}".replace("\n", " ")


_ENDINGS = ("Block run completed", "Run completed")
