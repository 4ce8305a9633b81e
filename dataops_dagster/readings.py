"""Reads the Meltano projects of commits from the store: what a plan changes in them, and what is wrong."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dataops_dagster.errors import ConfigError
from dataops_dagster.gate.lint import Finding
from dataops_dagster.git import Access
from dataops_dagster.heads import look_up
from dataops_dagster.meltano import changes, lint
from dataops_dagster.meltano.reading import MANIFEST, Reading
from dataops_dagster.meltano.schedules import FOLDER
from dataops_dagster.model import Change, Plan
from dataops_dagster.settings import MeltanoStep, Project, Workspace
from dataops_dagster.store import Store

_ENDINGS = (".yml", ".yaml", ".lock")


def described(plan: Plan, project: Project, *, store: Store, now: datetime) -> Plan:
    """Return the plan with what it changes in a Meltano project, if it changes anything there.

    A plan that touches no file of such a project costs nothing.
    """
    if not touches(plan.changes):
        return plan
    target = project.workspaces[plan.target]
    before, after = _both(plan, Access.of(project, target), store)
    if after is None:
        return plan
    found = changes.changes(before, after, target.environment, now=now)
    return dataclasses.replace(plan, configuration=found)


def touches(changed: Iterable[Change]) -> bool:
    """Say whether one of the changed paths may be a file of a Meltano project."""
    return any(change.path.endswith(_ENDINGS) for change in changed)


@dataclass(frozen=True)
class Linted:
    """What is wrong in a project that would land, apart from what is on its target already."""

    errors: Sequence[Finding] = ()
    warnings: Sequence[Finding] = ()


def linted(plan: Plan, project: Project, *, store: Store, ignore: Collection[str]) -> Linted:
    """Say what is wrong, for the target's environment, in what would land and was not there before."""
    if not touches(plan.changes):
        return Linted()
    target = project.workspaces[plan.target]
    before, after = _both(plan, Access.of(project, target), store)
    if after is None:
        return Linted()
    known = findings(before, project, target, ignore) if before else []
    found = lint.new(findings(after, project, target, ignore), known)
    errors = [finding for finding in found if lint.is_error(finding)]
    return Linted(errors, [finding for finding in found if not lint.is_error(finding)])


def findings(
    reading: Reading, project: Project, workspace: Workspace, ignore: Collection[str] = ()
) -> list[Finding]:
    """Return what the rules say of a project in a workspace's environment."""
    others = dict.fromkeys(other.environment for other in project.workspaces.values())
    return lint.findings(
        reading, workspace.environment, others, variables=variables_of(workspace), ignore=ignore
    )


def variables_of(workspace: Workspace) -> set[str] | None:
    """Return the names of the variables that Meltano has in a workspace; None where we do not run it."""
    steps = [step for step in (workspace.run, workspace.deploy) if isinstance(step, MeltanoStep)]
    given = [{name for name in step.variables if name in os.environ} for step in steps]
    return set.intersection(*given) if given else None


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
    # What reads YAML 1.2 takes time to import, and most promotions need none of it.
    from dataops_dagster.meltano.gathering import gather

    return gather(TreeFiles(tree, access, store))


def _both(plan: Plan, access: Access, store: Store) -> tuple[Reading | None, Reading | None]:
    after = of_tree(plan.tree, access, store)
    if after is None or plan.base is None:
        return None, after
    return of_tree(store.commit(plan.base).tree, access, store), after
