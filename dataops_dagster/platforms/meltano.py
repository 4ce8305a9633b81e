"""The `meltano` platform: `meltano run` by the real command line; Meltano is never imported."""

from __future__ import annotations

from collections.abc import Callable

from dataops_dagster.folders import state_folder
from dataops_dagster.model import MeltanoStep
from dataops_dagster.platforms.task import Result, Task, run_program


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
        "--log-format=uncolored",
        f"--environment={task.environment}",
        "run",
        f"--run-id={task.run_id}",
        *step.run,
    ]
    return run_program(arguments, step, task, on_line, extra)
