"""Reads the Meltano projects of commits from the store, and says what a plan changes in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime

from dataops_dagster.committed import CommittedFiles
from dataops_dagster.errors import ConfigError
from dataops_dagster.git import Access
from dataops_dagster.heads import look_up
from dataops_dagster.meltano import changes
from dataops_dagster.meltano.reading import EMPTY, MANIFEST, Reading
from dataops_dagster.model import Change, Plan
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store

_ENDINGS = (".yml", ".yaml", ".lock")


def described(plan: Plan, project: Project, *, store: Store, now: datetime) -> Plan:
    """Return the plan with what it changes in a Meltano project, if it changes anything there.

    A plan that touches no file of such a project costs nothing.
    """
    if not touches(plan.changes):
        return plan
    target = project.workspaces[plan.target]
    before, after = both(plan, project, store=store)
    if before is None and after is None:
        return plan
    found = changes.changes(before, after or EMPTY, target.environment, now=now)
    return dataclasses.replace(plan, configuration=found)


def both(plan: Plan, project: Project, *, store: Store) -> tuple[Reading | None, Reading | None]:
    """Read the Meltano project that a plan's target is, and the one it would be."""
    access = Access.of(project, project.workspaces[plan.target])
    after = of_tree(plan.tree, access, store)
    is_gone = after is None and any(change.path == MANIFEST for change in plan.changes)
    if plan.base is None or not (after or is_gone):
        return None, after
    return of_tree(store.commit(plan.base).tree, access, store), after


def touches(changed: Iterable[Change]) -> bool:
    """Say whether one of the changed paths may be a file of a Meltano project."""
    return any(change.path.endswith(_ENDINGS) for change in changed)


def at_head(project: Project, workspace: Workspace, *, store: Store) -> Reading:
    """Read the Meltano project at a workspace's head; raises `ConfigError` where there is none."""
    head, access = look_up(project, workspace).commit, Access.of(project, workspace)
    if head:
        store.fetch(access, workspace.branch, head, without_blobs=True)
    reading = of_tree(store.commit(head).tree, access, store) if head else None
    if reading is None:
        raise ConfigError.at(
            f"workspaces.{workspace.name}",
            f"has no {MANIFEST} at the top of its branch {workspace.branch}",
            "name a workspace that is a Meltano project",
        )
    return reading


def of_tree(tree: str, access: Access, store: Store) -> Reading | None:
    """Read the Meltano project that a tree is; None if it is none."""
    found = _read.get(tree)
    if found is None:
        # What reads YAML 1.2 takes time to import, and most promotions need none of it.
        from dataops_dagster.meltano.gathering import gather

        found = gather(CommittedFiles(store, tree, access)) if store.entry(tree, MANIFEST) else None
        if len(_read) > _MOST:
            _read.clear()
        if found:
            _read[tree] = found
    return found


_read: dict[str, Reading] = {}
"""The projects of trees, which never change, in this process: a gate that waits asks again and again."""

_MOST = 8
