"""The `command` platform: any program, told by environment variables what it works for."""

from __future__ import annotations

from collections.abc import Callable

from dataops_dagster.platforms.task import Result, Task, run_program
from dataops_dagster.settings_steps import CommandStep


def execute(step: CommandStep, task: Task, on_line: Callable[[str], None]) -> Result:
    """Run the program in the exported commit's folder; exit code 0 is success."""
    return run_program(step.command, step, task, on_line, extra={})
