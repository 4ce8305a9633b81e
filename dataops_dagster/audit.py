"""Which commits of a target came through us? Proved from its repository alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from dataops_dagster import plan, release
from dataops_dagster.git import Access
from dataops_dagster.heads import Head, look_up
from dataops_dagster.model import Commit, Equality, Plan, Release
from dataops_dagster.objects import HISTORY, Objects
from dataops_dagster.planning import CANDIDATES, is_on
from dataops_dagster.rollback import Released
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
    store.fetch(Access.of(project, target), target.branch, head.commit, without_blobs=True)
    records = _records(project, target, head, store=store)
    return list(_entries(project, target, store, head.commit, records))


@dataclass(frozen=True)
class Landed:
    """A release, and the plan that it published as far as git tells it: not what that overwrote or kept."""

    release: Release
    plan: Plan


def landed(project: Project, target: Workspace, head: Head, *, store: Store) -> Landed | None:
    """Return what made a target's head, if a record proves it.

    Asks the server for the records. The head's history must be in the cache, else it is not told.
    """
    if head.commit is None or store.unfetched(head.commit):
        return None
    found = _records(project, target, head, store=store).get(head.commit, [])
    proof = _proof(_problems(project, target, store, store.commit(head.commit), found))
    return Landed(proof, _plan(project, target, head, proof, store=store)) if proof else None


def _plan(
    project: Project, target: Workspace, head: Head, record: Release, *, store: Store
) -> Plan:
    base, upstream = record.base or None, record.upstream_commit
    hotfixes: tuple[Commit, ...] = ()
    if record.is_rollback:
        news = store.log(upstream, record.base, limit=CANDIDATES)
    else:
        before = Released(project, target, replace(head, commit=base), store)
        # What a rollback undid came once more, as the plan counted it.
        since = before.undone.to if before.undone else base
        news = store.log(since, upstream, limit=CANDIDATES)
        hotfixes = before.since_last(without=upstream)
    return Plan(
        project=project.name,
        target=target.name,
        upstream=record.upstream,
        base=base,
        upstream_commit=upstream,
        commit=record.commit,
        tree=record.tree,
        equality=Equality(record.equality),
        commit_count=news.count,
        commits=news.commits,
        changes=store.changes(store.commit(base).tree if base else None, record.tree),
        overwrites=(),
        keeps=(),
        tag=record.tag,
        hotfixes=hotfixes,
        skipped=record.skipped,
        digest=record.plan,
    )


def _records(
    project: Project, target: Workspace, head: Head, *, store: Store
) -> dict[str, list[Release]]:
    """Fetch a target's records; returns them by the commit that the server says they are of."""
    prefix = release.prefix(project.name, target.name)
    store.fetch_tags(Access.of(project, target), prefix)
    records: dict[str, list[Release]] = {}
    for tag, text in store.tags(prefix):
        found = release.parse(tag, text)
        if found and tag in head.annotated:
            records.setdefault(head.annotated[tag], []).append(found)
    return records


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
        problems = _problems(project, target, objects, commit, found)
        proof = _proof(problems)
        ahead = next(iter(commit.parents), None)
        if proof is None:
            told = "; ".join(f"{record.tag}: {problem}" for record, problem in problems)
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
    project: Project, target: Workspace, objects: Objects, commit: Commit, found: Iterable[Release]
) -> list[tuple[Release, str]]:
    """Return records of a commit, each with why it is not believed; empty if it proves itself."""
    return [(r, next(_doubts(project, target, objects, commit, r), "")) for r in found]


def _proof(problems: Sequence[tuple[Release, str]]) -> Release | None:
    return next((record for record, problem in reversed(problems) if not problem), None)


def _doubts(
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
