"""Which commits of a target came through us? Proved from its repository alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from dataops_dagster import plan, release
from dataops_dagster.git import Access, branch_ref
from dataops_dagster.model import Commit, Equality, Release
from dataops_dagster.objects import Objects
from dataops_dagster.remotes import Remote
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store


class How(str, Enum):
    """How a commit became the target's head."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    FORWARDED = "came with a promotion"
    OTHER = "not through dataops"


@dataclass(frozen=True)
class Entry:
    """One commit that the target had as its head, or has.

    `release` is the record that proves it, `equality` the level that the record proves, and
    `problem` why a record is not believed.
    """

    commit: Commit
    how: How
    release: str = ""
    equality: str = ""
    problem: str = ""


def audit(project: Project, target: Workspace, *, store: Store) -> list[Entry]:
    """Walk the target's branch from its head, newest first, along its first parents."""
    access, ref = Access.of(project, target), branch_ref(target.branch)
    head = Remote(access).refs([ref], store.seconds).get(ref)
    if head is None:
        return []
    store.fetch(access, target.branch, head, without_blobs=True)
    prefix = release.prefix(project.name, target.name)
    store.fetch_tags(access, prefix)
    records: dict[str, list[Release]] = {}
    for tag, text in store.tags(prefix):
        if found := release.parse(tag, text):
            records.setdefault(found.commit, []).append(found)
    return list(_entries(project.name, store, head, records))


def _entries(
    project: str, objects: Objects, head: str, records: Mapping[str, list[Release]]
) -> Iterator[Entry]:
    walked = objects.first_parents(head)
    commits = {commit.id: commit for commit in objects.commits(walked)}
    came_with: dict[str, Release] = {}
    for id_ in walked:
        commit, found = commits[id_], records.get(id_, [])
        problems = {r.tag: _problem(project, objects, commit, r) for r in found}
        proof = next((r for r in reversed(found) if not problems[r.tag]), None)
        if proof:
            how = How.ROLLBACK if proof.is_rollback else How.PROMOTION
            yield Entry(commit, how, proof.tag, proof.equality)
            if proof.upstream_commit == id_:
                # What the branch was moved forward over came from the upstream as well.
                over = objects.first_parents(id_, since=proof.base or None)
                came_with |= dict.fromkeys(over, proof)
        elif id_ in came_with:
            carried = came_with[id_]
            yield Entry(commit, How.FORWARDED, carried.tag, carried.equality)
        else:
            told = "; ".join(f"{tag}: {problem}" for tag, problem in problems.items())
            yield Entry(commit, How.OTHER, problem=told)


def _problem(project: str, objects: Objects, commit: Commit, record: Release) -> str:
    """Say what in a record does not fit the commit that it is about; nothing if all does."""
    upstream, base = record.upstream_commit, record.base
    if record.tree != commit.tree:
        return "records another tree"
    parents = (base,) if record.is_rollback else (base, upstream)
    forward = upstream == commit.id and not record.is_rollback
    if not forward and commit.parents != parents:
        return "records other parents"
    if record.plan != plan.digest_of(
        project=project,
        target=record.target,
        upstream=record.upstream,
        base=base or None,
        upstream_commit=upstream,
        commit=commit.id,
        tree=commit.tree,
        tag=record.tag,
    ):
        return "records another plan"
    level = Equality.SAME_COMMIT if forward else None
    if not forward and objects.commit(upstream).tree == commit.tree:
        level = Equality.SAME_TREE
    strongest = (Equality.SAME_COMMIT.value, Equality.SAME_TREE.value)
    if record.equality != level if level else record.equality in strongest:
        return f"claims {record.equality}"
    return ""
