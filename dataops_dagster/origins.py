"""Which workspaces are deployed before which: at Tinybird, who shares before those who read. Pure.

Knows what is configured, and nothing of what is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from dataops_dagster.settings import Project


def origins(project: Project) -> Mapping[str, Sequence[str]]:
    """Return each workspace that deploys with the origins that are deployed before it, by name.

    Both sides say it: `uses` of the one that reads, `shares` of its origin. An origin that is not
    deployed by this project is none.
    """
    deploying = {name: w for name, w in project.workspaces.items() if w.deploy}
    there = {w.tinybird.place: name for name, w in deploying.items() if w.tinybird}
    found: dict[str, dict[str, None]] = {name: {} for name in deploying}  # a set that keeps order
    for name, workspace in deploying.items():
        if workspace.tinybird is None:
            continue
        host, _ = workspace.tinybird.place
        for used in workspace.tinybird.uses:
            if origin := there.get((host, used.workspace)):
                found[name][origin] = None
        for shared in workspace.tinybird.shares:
            if reader := there.get((host, shared.workspace)):
                found[reader][name] = None
    return {name: tuple(before) for name, before in found.items()}


def origin_first(project: Project) -> Sequence[str]:
    """Return the workspaces that deploy, each after its origins; there must be no cycle."""
    return tuple(TopologicalSorter(origins(project)).static_order())


def cycle(project: Project) -> Sequence[str]:
    """Return workspaces of which each is the origin of the next, the last of the first; or none."""
    try:
        TopologicalSorter(origins(project)).prepare()
    except CycleError as error:
        return tuple(error.args[1][:-1])
    return ()
