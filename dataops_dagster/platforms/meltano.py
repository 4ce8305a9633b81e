"""The `meltano` platform: `meltano run` by the real command line; Meltano is never imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dataops_dagster.folders import state_folder
from dataops_dagster.meltano.log import Log
from dataops_dagster.model import Facts
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
    log = Log(())
    result = run_program(arguments, step, task, on_line, extra=extra, readable=log.take)
    return _told(result, log.facts())


def _told(result: Result, facts: Facts) -> Result:
    """Add what the log tells to a result; that the run failed, its exit code said."""
    if result.passed:
        return replace(result, facts=replace(facts, failing=()))
    blame = "".join(
        f"{f.plugin} ended with exit code {f.exit_code}; meltano " for f in facts.failing
    )
    return replace(result, facts=facts, detail=blame + result.detail)
