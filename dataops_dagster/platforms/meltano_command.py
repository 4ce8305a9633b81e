"""How the meltano command is called for a task: its environment, its folders, its deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataops_dagster.folders import cache_folder, state_folder
from dataops_dagster.locks import Locked
from dataops_dagster.platforms.task import Result, Task, run_program
from dataops_dagster.settings_steps import MeltanoStep

DATABASE = "MELTANO_DATABASE_URI"


@dataclass(frozen=True)
class Meltano:
    """The command, called for one task while `lock` is held; all calls share its deadline."""

    step: MeltanoStep
    task: Task
    on_line: Callable[[str], None]
    lock: Locked
    hidden: Sequence[str] = field(default=(), repr=False)
    begin: float = field(default_factory=time.monotonic)

    @property
    def system(self) -> Path:
        """Meltano's own folder, which goes with the task."""
        return self.task.folder / "meltano"

    def call(
        self,
        *arguments: str,
        readable: Callable[[str], str | None],
        lock: Locked | None = None,
    ) -> Result:
        """Call it to its end, while `lock` is held, too."""
        return run_program(
            [self.step.executable, "--log-format=json", *arguments],
            self.step,
            self.task,
            self.on_line,
            extra=self._environment(),
            readable=readable,
            hidden=self.hidden,
            keep_open=[*self.lock.descriptors, *(lock.descriptors if lock else ())],
            spent=time.monotonic() - self.begin,
        )

    def _environment(self) -> dict[str, str]:
        shared = shared_by(self.task.project)
        defaults = {
            # The system database holds the state of incremental loads.
            DATABASE: f"sqlite:///{kept_for(self.task)}/meltano.db",
            "UV_CACHE_DIR": f"{shared}/uv",
            "PIP_CACHE_DIR": f"{shared}/pip",
            # A Python that is fetched for a plug-in must outlive the home of the run.
            "UV_PYTHON_INSTALL_DIR": f"{shared}/python",
        }
        return {
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "MELTANO_CLI_DISABLE_VERSION_CHECK": "1",
            "MELTANO_PROJECT_READONLY": "true",
            "MELTANO_SYS_DIR_ROOT": str(self.system),
            "NO_COLOR": "1",
            "COLUMNS": "400",
            **{name: said for name, said in defaults.items() if name not in self.step.variables},
        }


def kept_for(task: Task) -> Path:
    """Return the folder of what a workspace's runs leave to the next: the state, and its locks."""
    return _private(state_folder() / task.project / task.workspace)


def shared_by(project: str) -> Path:
    """Return the folder of what the runs of all workspaces of a project share; it may be deleted."""
    return _private(cache_folder() / "meltano" / project)


def _private(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
