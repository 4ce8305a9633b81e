"""How the meltano command is called for a task: its environment, its folders, its deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataops_dagster.folders import cache_folder, state_folder
from dataops_dagster.locks import Locked
from dataops_dagster.platforms.task import Result, Task, run_program
from dataops_dagster.settings import MeltanoStep

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

    @property
    def shared(self) -> Path:
        """What the runs of all workspaces of a project share; it may be deleted."""
        return cache_folder() / "meltano" / self.task.project

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
        state = kept(self.task)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        defaults = {
            # The system database holds the state of incremental loads.
            DATABASE: f"sqlite:///{state}/meltano.db",
            "UV_CACHE_DIR": f"{self.shared}/uv",
            "PIP_CACHE_DIR": f"{self.shared}/pip",
            # A Python that is fetched for a plug-in must outlive the home of the run.
            "UV_PYTHON_INSTALL_DIR": f"{self.shared}/python",
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


def kept(task: Task) -> Path:
    """Return the folder of what a workspace's runs leave to the next: the state, and its locks."""
    return state_folder() / task.project / task.workspace
