"""Bring a target back to an earlier release: a new commit with its tree, never a force push."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from dataops_dagster import plan, readings, release
from dataops_dagster.git import Access
from dataops_dagster.heads import Head, look_up
from dataops_dagster.model import (
    Change,
    Commit,
    Considered,
    Equality,
    NothingToDo,
    Plan,
    Ready,
    Rejected,
    State,
    Verdict,
)
from dataops_dagster.objects import shown
from dataops_dagster.planning import CANDIDATES, Rollback, rollback_of, signature
from dataops_dagster.settings import Policy, Project, Workspace
from dataops_dagster.store import Store
from dataops_dagster.text import one_line


@dataclass(frozen=True)
class Released:
    """A target's head, and its releases on the way there."""

    project: Project
    target: Workspace
    head: Head
    store: Store

    @cached_property
    def releases(self) -> list[tuple[str, str]]:
        """The tags and commits of the releases that the branch had as its head, newest first."""
        if self.head.commit is None:
            return []
        tags = {commit: tag for tag, commit in sorted(self.head.releases.items())}
        # All of its history: a pull may have made the branch's own past a second parent.
        walked = self.store.history(self.head.commit) if tags else []
        return [(tags[commit], commit) for commit in walked if commit in tags]

    def since_last(self, *, without: str | None = None) -> tuple[Commit, ...]:
        """Return the newest commits that the target got since its last release.

        What `without` has is left out.
        """
        if not self.releases or self.head.commit is None:
            return ()
        last, head = self.releases[0][1], self.head.commit
        return self.store.log(last, head, limit=CANDIDATES, without=without).commits

    @property
    def undone(self) -> Rollback | None:
        """The rollback that the last release is, if it is one."""
        return self.rollback(self.releases[0][1]) if self.releases else None

    def rollback(self, commit: str) -> Rollback | None:
        """Return the rollback that a release is, if it is one."""
        trailers = self.store.trailers(commit)
        return rollback_of(self.store, commit, trailers, project=self.project, target=self.target)


def look(project: Project, target: Workspace, *, store: Store) -> Released:
    """Look up a target's head and releases, and bring its history into the cache."""
    return at(project, target, look_up(project, target), store=store)


def at(project: Project, target: Workspace, head: Head, *, store: Store) -> Released:
    """Bring the history of a target's head into the cache."""
    if head.commit:
        access = Access.of(project, target)
        store.fetch(access, target.branch, head.commit, without_blobs=True)
    return Released(project, target, head, store)


def consider(
    project: Project,
    target: Workspace,
    *,
    store: Store,
    to: str | None,
    by: str,
    reason: str,
    now: datetime,
) -> Considered:
    """Plan to bring the target back to the release `to`, or to the one before its last.

    Writes to no workspace; `promotion.publish` publishes what this returns.
    """
    if target.merge.policy is Policy.FF_ONLY:
        return Rejected(
            target.name,
            f"the policy of {target.name} is ff_only: after a commit of its own, which a rollback"
            " is, nothing could be promoted into it",
            f"choose another workspaces.{target.name}.merge.policy first",
        )
    found = look(project, target, store=store)
    if not found.releases or found.head.commit is None:
        return Rejected(
            target.name,
            f"{target.name} has no release on its branch {target.branch}",
            "only what was promoted by dataops can be brought back",
        )
    wanted = _wanted(found, to)
    if isinstance(wanted, Rejected):
        return wanted
    head, earlier = store.commit(found.head.commit), store.commit(wanted)
    if head.tree == earlier.tree:
        return NothingToDo(target.name, head.id, wanted)
    told = {"by": one_line(by), "reason": one_line(reason)}
    # Of this moment: lifting an earlier rollback, of which all else may be equal, does not lift it.
    time = int(now.timestamp())
    commit = store.write_commit(
        earlier.tree,
        [head.id],
        plan.rollback_message(project=project.name, target=target.name, to=wanted, **told),
        name=signature(project),
        time=time,
    )
    undone = store.log(wanted, head.id, limit=CANDIDATES)
    changed = store.differences(head.tree, earlier.tree)
    tags = found.head.tags
    planned = Plan(
        project=project.name,
        target=target.name,
        upstream=target.name,
        base=head.id,
        upstream_commit=wanted,
        commit=commit,
        tree=earlier.tree,
        equality=Equality.SAME_TREE,
        commit_count=undone.count,
        commits=undone.commits,
        changes=tuple(Change(d.status, shown(d.path)) for d in changed),
        overwrites=(),
        keeps=(),
        tag=release.tag_of(project.name, target.name, commit, time, taken=tags),
    )
    decided = Verdict("rollback", State.PASSED, f"{told['by']}: {told['reason']}", told["by"])
    signed = plan.signed(planned)
    return Ready(readings.described(signed, project, store=store, now=now), (decided,))


def _wanted(found: Released, to: str | None) -> str | Rejected:
    """Return the commit of the release to bring back; what a rollback brought back, for one."""
    name, releases = found.target.name, found.releases
    if to is None:
        return _before_last(found)
    matching = [commit for tag, commit in releases if to in (tag, tag.rpartition("/")[2], commit)]
    if not matching:
        known = ", ".join(tag.rpartition("/")[2] for tag, _ in releases[:5])
        return Rejected(name, f"{name} has no release {to} on its branch", f"name one of {known}")
    undone = found.rollback(matching[0])
    return undone.to if undone else matching[0]


def _before_last(found: Released) -> str | Rejected:
    name, (last, *earlier) = found.target.name, found.releases
    if undone := found.rollback(last[1]):
        return Rejected(
            name,
            f"{name} is rolled back already, to {undone.to[:12]}",
            "name the release with --to to go back further",
        )
    for _, commit in earlier:
        undone = found.rollback(commit)
        return undone.to if undone else commit
    return Rejected(
        name, f"{name} has no release before its last, {last[0]}", "nothing can be brought back"
    )
