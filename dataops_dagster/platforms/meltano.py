"""The `meltano` platform: `meltano run` by the real command line; Meltano is never imported."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataops_dagster import locks, process
from dataops_dagster.folders import cache_folder, state_folder
from dataops_dagster.locks import Busy, Locked
from dataops_dagster.meltano.log import Log
from dataops_dagster.meltano.needs import Need, needs_of
from dataops_dagster.meltano.pipelines import Pipeline, pipelines_of
from dataops_dagster.meltano.project import Project, load
from dataops_dagster.model import Facts, Outcome
from dataops_dagster.platforms import installations
from dataops_dagster.platforms.exported import ExportedFiles
from dataops_dagster.platforms.task import Result, Task, run_program
from dataops_dagster.settings import MeltanoStep

_DATABASE = "MELTANO_DATABASE_URI"


def execute(step: MeltanoStep, task: Task, on_line: Callable[[str], None]) -> Result:
    """Run jobs or blocks in the task's environment, which is always named explicitly.

    Is `ERRORED`, which proves nothing, when a state is in use or plug-ins cannot be installed.
    """
    files = ExportedFiles(task.files)
    project = load(files)
    pipelines = pipelines_of(project, step.run, task.environment)
    states = {_lock_of(task, p.state_id): p.state_id for p in pipelines if p.state_id}
    with locks.held(states, task.run_id) as lock:
        if isinstance(lock, Busy):
            problem = f"Dagster run {lock.holder} is at work on {states[lock.path]}"
            return Result(Outcome.ERRORED, "nothing", process.clean(problem, ()))
        seen = {name: os.environ[name] for name in step.variables if name in os.environ}
        needs = needs_of(project, pipelines, task.environment, files=files, variables=seen)
        meltano = _Meltano(
            step=step,
            task=task,
            on_line=on_line,
            lock=lock,
            begin=time.monotonic(),
            hidden=tuple(secret for need in needs for secret in need.secrets),
        )
        places = installations.link(
            needs,
            shared=meltano.shared / "plugins",
            system=meltano.system,
            paths=files.kinds(),
            meltano=str(shutil.which(step.executable)),
        )
        problem = _install(meltano, places)
        if problem:
            return Result(Outcome.ERRORED, "meltano install", f"cannot install plug-ins: {problem}")
        # What only a hub knows, Meltano installs for itself.
        is_ready = installations.are_whole(places) and not any(
            plugin.is_unlocked for pipeline in pipelines for plugin in pipeline.plugins
        )
        return _run(meltano, pipelines, is_ready=is_ready, is_alone=not _names(project, _DATABASE))


@dataclass(frozen=True)
class _Meltano:
    """How meltano is called for a task."""

    step: MeltanoStep
    task: Task
    on_line: Callable[[str], None]
    lock: Locked
    begin: float
    hidden: tuple[str, ...]

    @property
    def system(self) -> Path:
        """Meltano's own folder, which goes with the task."""
        return self.task.folder / "meltano"

    @property
    def shared(self) -> Path:
        """Where the project keeps what all its runs share."""
        return cache_folder() / "meltano" / self.task.project

    def call(
        self,
        arguments: Sequence[str],
        lock: Locked | None = None,
        readable: Callable[[str], str | None] = lambda line: line,
    ) -> Result:
        """Call meltano to its end, or to the deadline of the task as a whole."""
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
        folder = state_folder() / self.task.project / self.task.workspace
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        defaults = {
            # The system database holds the state of incremental loads: one a workspace.
            _DATABASE: f"sqlite:///{folder}/meltano.db",
            # An interpreter that is fetched for a plug-in must outlive the run's home.
            "UV_CACHE_DIR": str(self.shared / "uv"),
            "UV_PYTHON_INSTALL_DIR": str(self.shared / "python"),
            "PIP_CACHE_DIR": str(self.shared / "pip"),
        }
        return {
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "MELTANO_CLI_DISABLE_VERSION_CHECK": "1",
            "MELTANO_PROJECT_READONLY": "true",
            "MELTANO_SYS_DIR_ROOT": str(self.system),
            "NO_COLOR": "1",
            "COLUMNS": "400",
            **{name: told for name, told in defaults.items() if name not in self.step.variables},
        }


def _install(meltano: _Meltano, places: Mapping[Path, Need]) -> str:
    """Install what is missing; returns what went wrong, or nothing."""

    def install(needs: Iterable[Need], lock: Locked) -> str:
        names = sorted({need.name for need in needs})
        log = Log(())
        done = meltano.call(["install", "--", *names], lock, log.take)
        return "" if done.passed else done.detail

    return installations.complete(
        places,
        shared=meltano.shared / "plugins",
        holder=meltano.task.run_id,
        patience=meltano.step.deadline.total_seconds(),
        install=install,
    )


def _run(
    meltano: _Meltano, pipelines: Sequence[Pipeline], *, is_ready: bool, is_alone: bool
) -> Result:
    step, task = meltano.step, meltano.task
    # Our lock says that nobody else is at work on these states; Meltano would believe for minutes
    # that one is who was killed.
    is_alone = is_alone and _DATABASE not in step.variables
    arguments = [
        f"--environment={task.environment}",
        "run",
        f"--run-id={task.run_id}",
        *(["--no-install"] if is_ready else []),
        *(["--force"] if is_alone else []),
        *step.run,
    ]
    log = Log(pipelines)
    return _told(meltano.call(arguments, readable=log.take), log.facts())


def _told(result: Result, facts: Facts) -> Result:
    """Add what the log tells to a result; that the run failed, its exit code said."""
    if result.passed:
        return replace(result, facts=replace(facts, failing=()))
    blame = "".join(
        f"{f.plugin} ended with exit code {f.exit_code}; meltano " for f in facts.failing
    )
    return replace(result, facts=facts, detail=blame + result.detail)


def _lock_of(task: Task, state_id: str) -> Path:
    name = hashlib.sha256(state_id.encode()).hexdigest()[:32]
    return state_folder() / task.project / task.workspace / "locks" / name


def _names(project: Project, variable: str) -> bool:
    """Say whether the project itself sets a variable, in any environment."""
    return any(variable in env for env in (project.env, *(e.env for e in project.environments)))
