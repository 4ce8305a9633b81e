"""Run or deploy a workspace at one exact commit: export its files, hand them to the platform."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

from dataops_dagster import platforms, promotion, scratch
from dataops_dagster.errors import ConfigError, DataOpsError
from dataops_dagster.git import Access
from dataops_dagster.heads import look_up
from dataops_dagster.model import Book, Effects, Held, Plan, Ready
from dataops_dagster.planning import is_on
from dataops_dagster.platforms import Purpose, Result, Task
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_steps import Step
from dataops_dagster.store import Store


def pin(project: Project, workspace: Workspace, commit: str | None, *, store: Store) -> str:
    """Return the commit to work on, in the cache: the one named, or else the workspace's head.

    Raises `ConfigError` for what is not on the workspace's branch: the cache also knows commits
    of other workspaces, which nobody let in here.
    """
    head = look_up(project, workspace).commit
    if head is None:
        raise ConfigError.at(
            f"workspaces.{workspace.name}",
            f"has no branch {workspace.branch}",
            f"push to it first, or mend workspaces.{workspace.name}.branch",
        )
    store.fetch(Access.of(project, workspace), workspace.branch, head, without_blobs=True)
    if commit is None:
        return head
    if not is_on(store, head, commit):
        raise ConfigError.at(
            f"workspaces.{workspace.name}",
            f"{commit} is not a commit on its branch {workspace.branch}",
            "name the full id of a commit that is on it",
        )
    return commit


def pin_merge(
    project: Project,
    target: Workspace,
    upstream_commit: str,
    *,
    store: Store,
    book: Book,
    now: datetime,
) -> str:
    """Return the commit that a promotion into `target` would land, in the cache and complete.

    It depends on its inputs only, so whoever promotes later makes the same one, unless the target
    has moved. Raises `ConfigError` when nothing of that commit can be promoted.
    """
    considered = promotion.consider(
        project, target, store=store, book=book, now=now, commit=upstream_commit
    )
    plan = considered.plan if isinstance(considered, Ready | Held) else None
    if plan is None:
        raise ConfigError.at(
            f"retests.{target.name}",
            f"there is no promotion of {upstream_commit} to be tested",
            "name a commit of the upstream that the target lacks, and that its gate takes",
        )
    _complete(project, target, plan, store)
    return plan.commit


def _complete(project: Project, target: Workspace, plan: Plan, store: Store) -> None:
    """Bring the files of a planned commit into the cache: each from whom it came."""
    upstream = project.workspaces[plan.upstream]
    for workspace, commit in ((target, plan.base), (upstream, plan.upstream_commit)):
        if commit:
            store.complete_files(Access.of(project, workspace), commit)


def execute(
    project: Project,
    workspace: Workspace,
    step: Step,
    *,
    commit: str,
    run_id: str,
    store: Store,
    on_line: Callable[[str], None],
    purpose: Purpose = Purpose.RUN,
    approved: frozenset[str] = frozenset(),
) -> tuple[Result, Task]:
    """Execute a step on the files of a commit that was pinned; they hold nothing of git's own.

    `approved` are the digests of plans of deployments that people approved. Raises `DataOpsError`
    when it could not be found out whether the step succeeds, and before anything is done when the
    platform would deploy another commit.
    """
    if step.platform in platforms.DEPLOY_HEADS:
        _must_be_head(project, workspace, commit)
    with prepared(
        project,
        workspace,
        commit=commit,
        run_id=run_id,
        store=store,
        purpose=purpose,
        approved=approved,
    ) as task:
        return platforms.execute(step, task, on_line), task


def foresee(
    project: Project,
    target: Workspace,
    plan: Plan,
    *,
    store: Store,
    approved: frozenset[str] = frozenset(),
) -> Effects | None:
    """Say what deploying a planned commit would do to the platform; None if that cannot say.

    That nobody could be asked is told as the problem: a plan does not depend on a platform.
    """
    step = target.deploy
    if step is None or step.platform not in platforms.FORESEERS:
        return None
    try:
        _complete(project, target, plan, store)
        with prepared(
            project,
            target,
            commit=plan.commit,
            run_id="",
            store=store,
            purpose=Purpose.DEPLOY,
            approved=approved,
        ) as task:
            return platforms.FORESEERS[step.platform](step, task)
    except DataOpsError as error:
        return Effects("", problem=f"not asked: {error}")


@contextlib.contextmanager
def prepared(
    project: Project,
    workspace: Workspace,
    *,
    commit: str,
    run_id: str,
    store: Store,
    purpose: Purpose = Purpose.RUN,
    approved: frozenset[str] = frozenset(),
) -> Iterator[Task]:
    """Give a task whose private folder holds a pinned commit's files, and goes afterwards."""
    store.complete_files(Access.of(project, workspace), commit)
    with scratch.folder(workspace.name) as folder:
        task = Task(
            settings=project,
            workspace=workspace.name,
            environment=workspace.environment,
            commit=commit,
            tree=store.commit(commit).tree,
            run_id=run_id,
            folder=folder,
            purpose=purpose,
            approved=approved,
        )
        task.files.mkdir()
        task.home.mkdir()
        store.export(commit, task.files)
        yield task


def _must_be_head(project: Project, workspace: Workspace, commit: str) -> None:
    head = look_up(project, workspace).commit
    if head != commit:
        raise ConfigError.at(
            f"workspaces.{workspace.name}",
            f"its platform can only deploy the head of branch {workspace.branch}, which is {head}"
            f" and not {commit}",
            "deploy the head; to serve an older release, roll back to it",
        )
