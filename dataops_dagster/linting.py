"""Looks into what lands, or stands at a head: what in its files and its Meltano project is wrong."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dataops_dagster import readings
from dataops_dagster.gate import lint
from dataops_dagster.gate.lint import Finding
from dataops_dagster.git import Access
from dataops_dagster.meltano import lint as meltano
from dataops_dagster.meltano.reading import Reading
from dataops_dagster.model import Plan
from dataops_dagster.objects import shown
from dataops_dagster.process import NEEDED_BY_PROGRAMS, SET_FOR_PROGRAMS
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_steps import MeltanoStep
from dataops_dagster.store import Store

_TOGETHER = 64 * 1024 * 1024
_MOST = 1000
"""After so many bytes, or findings, files are not looked into any more; that is a finding itself."""


@dataclass(frozen=True)
class Linted:
    """What breaks, and what is only suspicious."""

    errors: Sequence[Finding] = ()
    warnings: Sequence[Finding] = ()


def of_plan(plan: Plan, project: Project, *, store: Store, ignore: Collection[str]) -> Linted:
    """Return what is wrong in what would land.

    Of files those are looked into that change. A Meltano project is looked at as a whole, in the
    target's environment; what is on the target already is left out.
    """
    target = project.workspaces[plan.target]
    before = store.commit(plan.base).tree if plan.base else None
    found = _in_files(before, plan.tree, Access.of(project, target), store, ignore)
    if not readings.touches(plan.changes):
        return _sorted(found, [])
    known, after = (
        in_project(reading, project, target, ignore) if reading else []
        for reading in readings.both(plan, project, store=store)
    )
    return _sorted(found, meltano.new(after, known))


def at_commit(
    commit: str, project: Project, workspace: Workspace, *, store: Store, ignore: Collection[str]
) -> Linted:
    """Return what is wrong in all files of a workspace's commit, and in the Meltano project it is."""
    access, tree = Access.of(project, workspace), store.commit(commit).tree
    store.complete_files(access, commit)
    reading = readings.of_tree(tree, access, store)
    return _sorted(
        _in_files(None, tree, access, store, ignore),
        in_project(reading, project, workspace, ignore) if reading else [],
    )


def in_project(
    reading: Reading, project: Project, workspace: Workspace, ignore: Collection[str] = ()
) -> list[Finding]:
    """Return what the rules say of a Meltano project in a workspace's environment."""
    others = dict.fromkeys(other.environment for other in project.workspaces.values())
    variables = variables_of(workspace)
    return meltano.findings(
        reading,
        workspace.environment,
        others,
        variables=variables,
        # It may be set where the run will be: what is not set here is no proof.
        unset={name for name in variables or () if name not in (*os.environ, *SET_FOR_PROGRAMS)},
        ignore=ignore,
    )


def variables_of(workspace: Workspace) -> set[str] | None:
    """Return the variables that all runs of Meltano in a workspace are given, by name.

    None where we do not run it.
    """
    steps = [step for step in (workspace.run, workspace.deploy) if isinstance(step, MeltanoStep)]
    given = [{*step.variables, *NEEDED_BY_PROGRAMS, *SET_FOR_PROGRAMS} for step in steps]
    return set.intersection(*given) if given else None


def _in_files(
    before: str | None, tree: str, access: Access, store: Store, ignore: Collection[str]
) -> list[Finding]:
    """Look into the files that differ between two trees."""
    paths: dict[str, list[str]] = {}
    for changed in store.differences(before, tree):
        if changed.after and changed.after.is_file:
            paths.setdefault(changed.after.id, []).append(shown(changed.path))
    found, total = list[Finding](), 0
    for blob, data in store.contents(paths, largest=lint.LARGEST, access=access):
        for path in paths[blob]:
            total += len(data)
            if total > _TOGETHER or len(found) > _MOST:
                return [*found, *lint.unread(path, ignore)]
            found += lint.findings(path, data, ignore)
    return found


def _sorted(in_files: Sequence[Finding], in_project: Sequence[Finding]) -> Linted:
    errors = [finding for finding in in_project if meltano.is_error(finding)]
    warnings = [finding for finding in in_project if not meltano.is_error(finding)]
    return Linted([*in_files, *errors], warnings)
