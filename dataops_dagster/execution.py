"""Run or deploy a workspace at one exact commit: export its files, hand them to the platform."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dataops_dagster import platforms
from dataops_dagster.git import Access, Store, private_folder
from dataops_dagster.model import Project, Step, Workspace
from dataops_dagster.platforms import Result, Task


def execute(
    project: Project,
    workspace: Workspace,
    step: Step,
    *,
    commit: str,
    run_id: str,
    store: Store,
    on_line: Callable[[str], None],
) -> tuple[Result, Task]:
    """Execute a step on the commit's files, which hold nothing of git's own.

    The folder is private and goes with the call. Raises `DataOpsError` when it could not be
    found out whether the step succeeds.
    """
    store.fetch(Access.of(project, workspace), workspace.branch, commit)
    with private_folder(f"dataops-{workspace.name}-") as folder:
        task = Task(
            project=project.name,
            workspace=workspace.name,
            environment=workspace.environment,
            commit=commit,
            tree=store.commit(commit).tree,
            run_id=run_id,
            folder=Path(folder),
        )
        task.files.mkdir()
        task.home.mkdir()
        store.export(commit, task.files)
        return platforms.execute(step, task, on_line), task
