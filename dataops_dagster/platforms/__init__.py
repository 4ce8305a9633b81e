"""The platforms that can run or deploy a workspace: a name, and the module that does it.

To add one, see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataops_dagster.model import Effects
from dataops_dagster.platforms import command, meltano, meltano_cloud, tinybird
from dataops_dagster.platforms.task import Purpose, Result, Task
from dataops_dagster.settings_steps import Step

# A step's type is decided by its platform, which the type checker cannot follow through a table.
PLATFORMS: Mapping[str, Callable[[Any, Task, Callable[[str], None]], Result]] = {
    "command": command.execute,
    "meltano": meltano.execute,
    "meltano_cloud": meltano_cloud.execute,
    "tinybird": tinybird.execute,
}

FORESEERS: Mapping[str, Callable[[Any, Task], Effects]] = {"tinybird": tinybird.foresee}
"""Platforms that say what a deployment would do before it does it."""

DEPLOY_HEADS = frozenset({"meltano_cloud"})
"""Platforms that read a workspace's repository themselves, and take no commit."""


def execute(step: Step, task: Task, on_line: Callable[[str], None]) -> Result:
    """Execute a step by its platform, handing over each line of output as it comes.

    Raises `ToolError` or `ConfigError` when the platform's program could not do its work at all.
    """
    return PLATFORMS[step.platform](step, task, on_line)


__all__ = ["DEPLOY_HEADS", "FORESEERS", "PLATFORMS", "Purpose", "Result", "Task", "execute"]
