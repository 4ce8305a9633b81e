"""The `meltano` platform: `meltano run` by the real command line; Meltano is never imported."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dataops_dagster import locks, process
from dataops_dagster.errors import ConfigError
from dataops_dagster.locks import Busy, Locked
from dataops_dagster.meltano.log import Log
from dataops_dagster.meltano.needs import Need, needs_of
from dataops_dagster.meltano.pipelines import Pipeline, pipelines_of
from dataops_dagster.meltano.project import Project, load
from dataops_dagster.meltano.selection import selected
from dataops_dagster.model import Facts, Outcome, Stream
from dataops_dagster.platforms import installations
from dataops_dagster.platforms.exported import ExportedFiles
from dataops_dagster.platforms.meltano_command import DATABASE, Meltano, kept_for, shared_by
from dataops_dagster.platforms.task import Result, Task, variables_of
from dataops_dagster.settings_steps import MeltanoStep

_PLUGINS = 300
"""More blocks than this in one run are no pipelines of anybody; each may take a lock."""


def execute(step: MeltanoStep, task: Task, on_line: Callable[[str], None]) -> Result:
    """Run jobs or blocks in the task's environment, which is always named explicitly.

    Is `ERRORED`, which proves nothing, when a state is in use or plug-ins cannot be installed.
    """
    files = ExportedFiles(task.files)
    project = load(files)
    pipelines = pipelines_of(project, step.run, task.environment)
    if sum(len(pipeline.plugins) for pipeline in pipelines) > _PLUGINS:
        raise ConfigError.at(
            f"workspaces.{task.workspace}",
            f"the jobs of {task.commit[:12]} run more than {_PLUGINS} plug-ins",
            "run fewer jobs at once",
        )
    states = {_lock_of(task, p.state_id): p.state_id for p in pipelines if p.state_id}
    with locks.held(states, task.run_id) as lock:
        if isinstance(lock, Busy):
            busy = _not_run(f"Dagster run {lock.holder} is at work on {states[lock.path]}")
            return replace(busy, refused_by=lock.holder)
        needs = needs_of(
            project, pipelines, task.environment, files=files, variables=variables_of(step)
        )
        secrets = [secret for need in needs for secret in need.secrets]
        meltano = Meltano(step, task, on_line, lock, hidden=secrets)
        problem, is_ready = _install(meltano, needs, files.kinds())
        if problem:
            return _not_run(f"cannot install plug-ins: {problem}")
        result = _run(meltano, project, pipelines, is_ready=is_ready)
        told = (*_declared(step, pipelines), *selected(project, pipelines, task.environment))
        return replace(result, facts=_with_streams(result.facts, told))


def _install(meltano: Meltano, needs: Sequence[Need], paths: Collection[str]) -> tuple[str, bool]:
    """Install what is missing; returns what went wrong, and whether all is there now."""
    shared = shared_by(meltano.task.project) / "plugins"
    command = str(shutil.which(meltano.step.executable))
    places = installations.lead_to(
        needs, shared=shared, system=meltano.system, paths=paths, meltano=command
    )

    def install(missing: Iterable[Need], lock: Locked) -> str:
        names = sorted({need.name for need in missing})
        done = meltano.call("install", "--", *names, readable=Log(()).take, lock=lock)
        return "" if done.passed else done.detail

    problem = installations.complete(
        places,
        shared=shared,
        holder=meltano.task.run_id,
        patience=meltano.step.deadline.total_seconds(),
        install=install,
    )
    return problem, installations.are_whole(places)


def _run(
    meltano: Meltano, project: Project, pipelines: Sequence[Pipeline], *, is_ready: bool
) -> Result:
    plugins = [plugin for pipeline in pipelines for plugin in pipeline.plugins]
    log = Log(pipelines)
    result = meltano.call(
        f"--environment={meltano.task.environment}",
        "run",
        f"--run-id={meltano.task.run_id}",
        # What only a hub knows, Meltano must look up and install by itself.
        *(["--no-install"] if is_ready and not any(p.is_unlocked for p in plugins) else []),
        # Nobody else is at work on these states, as our locks say. Meltano would believe for
        # minutes that a run is which was killed.
        *(["--force"] if _is_own_database(meltano.step, project) else []),
        *meltano.step.run,
        readable=log.take,
    )
    facts = log.facts()
    if result.passed:
        return replace(result, facts=replace(facts, failing=()))
    blame = "".join(
        f"{f.plugin} ended with exit code {f.exit_code}; meltano " for f in facts.failing
    )
    return replace(result, facts=facts, detail=blame + result.detail)


def _is_own_database(step: MeltanoStep, project: Project) -> bool:
    envs = (project.env, *(environment.env for environment in project.environments))
    return DATABASE not in step.variables and not any(DATABASE in env for env in envs)


def _declared(step: MeltanoStep, pipelines: Iterable[Pipeline]) -> Iterator[Stream]:
    for name in {p.plugins[0].name for p in pipelines if p.state_id}:
        yield from (Stream(name, stream) for stream in step.streams.get(name, ()))


def _with_streams(facts: Facts, told: Iterable[Stream]) -> Facts:
    """Add the streams that extractors are told to move; what was counted is known better."""
    counting = {stream.extractor for stream in facts.streams}
    others = dict.fromkeys(stream for stream in told if stream.extractor not in counting)
    return replace(facts, streams=(*facts.streams, *others))


def _not_run(problem: str) -> Result:
    return Result(Outcome.ERRORED, "nothing", process.clean(problem, ()))


def _lock_of(task: Task, state_id: str) -> Path:
    return (
        kept_for(task)
        / "locks"
        / hashlib.sha256(state_id.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    )
