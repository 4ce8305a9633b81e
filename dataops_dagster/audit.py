"""Which commits of a target came through us? Proved from its repository alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from dataops_dagster import plan, release
from dataops_dagster.git import Access
from dataops_dagster.heads import look_up
from dataops_dagster.model import Commit, Equality, Release
from dataops_dagster.objects import HISTORY, Objects
from dataops_dagster.planning import is_on
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
    """Walk the target's branch from its head, newest first, along the heads that it had.

    That is the first parent, or where a release says that it found the branch: after a
    fast-forward first parents are the upstream's.
    """
    head = look_up(project, target)
    if head.commit is None:
        return []
    access, prefix = Access.of(project, target), release.prefix(project.name, target.name)
    store.fetch(access, target.branch, head.commit, without_blobs=True)
    store.fetch_tags(access, prefix)
    records: dict[str, list[Release]] = {}
    for tag, text in store.tags(prefix):
        found = release.parse(tag, text)
        if found and tag in head.annotated:
            records.setdefault(head.annotated[tag], []).append(found)
    return list(_entries(project, target, store, head.commit, records))


def _entries(
    project: Project,
    target: Workspace,
    objects: Objects,
    head: str,
    records: Mapping[str, list[Release]],
) -> Iterator[Entry]:
    commits = {commit.id: commit for commit in objects.log(None, head, limit=HISTORY).commits}
    ahead: str | None = head
    while ahead in commits:
        commit, found = commits[ahead], records.get(ahead, [])
        problems = {r.tag: next(_problems(project, target, objects, commit, r), "") for r in found}
        proof = next((r for r in reversed(found) if not problems[r.tag]), None)
        ahead = next(iter(commit.parents), None)
        if proof is None:
            told = "; ".join(f"{tag}: {problem}" for tag, problem in problems.items())
            yield Entry(commit, How.OTHER, problem=told)
            continue
        how = How.ROLLBACK if proof.is_rollback else How.PROMOTION
        yield Entry(commit, how, proof.tag, proof.equality)
        if proof.upstream_commit == commit.id:
            # What the branch was moved forward over came from the upstream as well.
            for id_ in objects.first_parents(commit.id, since=proof.base or None)[1:]:
                yield Entry(commits[id_], How.FORWARDED, proof.tag, proof.equality)
            ahead = proof.base


_CLAIMED = frozenset({Equality.SAME_SCOPE, Equality.EXPLAINED, Equality.UNEXPLAINED})
"""Levels that hang on what was configured then: no commit proves or belies them."""


def _problems(
    project: Project, target: Workspace, objects: Objects, commit: Commit, record: Release
) -> Iterator[str]:
    """Yield what in a record does not fit the commit that its tag points to.

    Only the first is to be asked for: each takes those before it as settled.
    """
    upstream, base = record.upstream_commit, record.base
    if (record.target, record.commit) != (target.name, commit.id):
        yield "records another commit"
    if record.tree != commit.tree:
        yield "records another tree"
    parents = (base,) if record.is_rollback else (base, upstream)
    forward = upstream == commit.id and not record.is_rollback
    if forward and base and (base == commit.id or not is_on(objects, commit.id, base)):
        yield "records another base"
    if not forward and commit.parents != parents:
        yield "records other parents"
    if record.is_rollback and not is_on(objects, base, upstream):
        yield "records what it never had"
    if record.plan != plan.digest_of(
        project=project.name,
        target=record.target,
        upstream=record.upstream,
        base=base or None,
        upstream_commit=upstream,
        commit=commit.id,
        tree=commit.tree,
        tag=record.tag,
    ):
        yield "records another plan"
    levels = _CLAIMED if not record.is_rollback else frozenset()
    if forward:
        levels = frozenset({Equality.SAME_COMMIT})
    elif objects.commit(upstream).tree == commit.tree:
        levels = frozenset({Equality.SAME_TREE})
    if record.equality not in levels:
        yield f"claims {record.equality}"
