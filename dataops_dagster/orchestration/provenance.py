"""What of its upstreams a target has: Dagster's staleness goes by it. Shown; nothing is decided by it."""

from __future__ import annotations

from collections.abc import Mapping

from dataops_dagster import audit, rollback
from dataops_dagster.audit import Landed
from dataops_dagster.errors import DataOpsError
from dataops_dagster.git import Access
from dataops_dagster.heads import Head, Heads
from dataops_dagster.orchestration import naming
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store

NOTHING = "none"
"""In place of a commit, where nothing of an upstream is there or nobody could find out: no head
equals it, so that the target shows as out of date."""

CODE_VERSION = "1"
"""Of all our assets. Without one Dagster takes the run's id, and every asset is stale."""

_CODE_VERSION_TAG = "dagster/code_version"
_POINTER_TAG, _NO_POINTER = "dagster/input_event_pointer", "NULL"


def arrived(project: Project, target: Workspace, heads: Heads, *, store: Store) -> dict[str, str]:
    """Return the newest commit of each upstream that a target's head has, by upstream.

    What a rollback undid is not there. An upstream with the very tree of the target has nothing more.
    """
    found, own = dict.fromkeys(target.upstream, NOTHING), heads[target.name]
    try:
        if not isinstance(own, Head) or own.commit is None:
            return found
        released = rollback.at(project, target, own, store=store)
        since = released.undone.to if released.undone else own.commit
    except DataOpsError:
        return found
    return {name: _newest(project, name, heads, since=since, store=store) for name in found}


def landed(project: Project, target: Workspace, head: Head, *, store: Store) -> Landed | None:
    """Return the release that made a target's head; none where nobody could find out."""
    try:
        return audit.landed(project, target, head, store=store)
    except DataOpsError:
        return None


def _newest(project: Project, name: str, heads: Heads, *, since: str, store: Store) -> str:
    upstream, head = project.workspaces[name], heads[name]
    try:
        if not isinstance(head, Head) or head.commit is None:
            return NOTHING
        store.fetch(Access.of(project, upstream), upstream.branch, head.commit, without_blobs=True)
        tip = head.commit
        if store.contains(since, tip) or store.commit(since).tree == store.commit(tip).tree:
            return tip
        return next(iter(store.merge_bases(since, tip)), NOTHING)
    except DataOpsError:
        return NOTHING


def input_tags(project: Project, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of an event of a target's own step that say what it has of its upstreams."""
    return {naming.input_tag(project.name, name): commit for name, commit in inputs.items()}


def tags(project: Project, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of an event that no step of the target's writes: Dagster adds nothing to it."""
    pointers = {naming.input_tag(project.name, name, _POINTER_TAG): _NO_POINTER for name in inputs}
    return {_CODE_VERSION_TAG: CODE_VERSION, **input_tags(project, inputs), **pointers}
