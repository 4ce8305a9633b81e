"""Would a commit do in workspaces at Tinybird, before it is promoted there? Changes none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from dataops_dagster import execution
from dataops_dagster.git import Access
from dataops_dagster.platforms import Purpose, tinybird
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store
from dataops_dagster.tinybird import trying
from dataops_dagster.tinybird.model import Refusal

_PRODUCTION = "it is production: tinybird.production is not false"


class Way(str, Enum):
    """How a workspace is asked."""

    CHECK = "check"
    BRANCH = "branch"


@dataclass(frozen=True)
class Trial:
    """What came of one workspace: whether the commit would do there, and why."""

    workspace: str
    way: Way
    passed: bool
    detail: str


def perform(
    project: Project,
    workspaces: Sequence[Workspace],
    *,
    origin: Workspace,
    commit: str,
    way: Way,
    store: Store,
    now: datetime,
    on_line: Callable[[str], None],
) -> Iterator[Trial]:
    """Yield a trial a workspace of a commit that was pinned on `origin`'s branch.

    Production is checked, whatever the way. Raises `DataOpsError` when it could not be found out.
    """
    store.complete_files(Access.of(project, origin), commit)
    for workspace in workspaces:
        is_checked = way is Way.CHECK or _is_production(workspace)
        with execution.prepared(
            project, workspace, commit=commit, run_id="", store=store, purpose=Purpose.DEPLOY
        ) as task:
            order = tinybird.order(tinybird.deploy_step(workspace), task, on_line)
            if is_checked:
                answer = trying.check(order)
            else:
                rules, local = project.tinybird.branches, tinybird.local_of(workspace)
                answer = trying.try_out(order, rules, local=local, now=now)
        done = Way.CHECK if is_checked else Way.BRANCH
        told = str(answer) if done is way else f"{answer}; no branch, as {_PRODUCTION}"
        yield Trial(workspace.name, done, not isinstance(answer, Refusal), told)


def _is_production(workspace: Workspace) -> bool:
    return workspace.tinybird is None or workspace.tinybird.is_production
