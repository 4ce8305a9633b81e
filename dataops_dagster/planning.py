"""Plan one promotion: what it would do, or why it will not; writes objects into the cache only."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dataops_dagster import losses, merge, ownership, plan, release
from dataops_dagster.git import Access, is_object_id
from dataops_dagster.heads import Head
from dataops_dagster.merge import Unmerged
from dataops_dagster.model import (
    Allowance,
    Change,
    Commit,
    Conflicted,
    Equality,
    Kept,
    Overwrite,
    Plan,
    Rejected,
)
from dataops_dagster.objects import Difference, News, Objects, shown
from dataops_dagster.ownership import Absent
from dataops_dagster.settings import Policy, Project, Workspace
from dataops_dagster.store import Store
from dataops_dagster.text import one_line
from dataops_dagster.yaml_text import Unkeepable

CANDIDATES = 256
"""How many of the upstream's newest commits are looked through for a proven one, and named in a
plan, which counts all."""

_LOST = 5


@dataclass(frozen=True)
class Rollback:
    """A release that brought back what the target was at the commit `to`, an earlier release."""

    commit: str
    to: str
    by: str
    reason: str
    time: int


def rollback_of(
    store: Store,
    release: str | None,
    trailers: Mapping[str, str],
    *,
    project: Project,
    target: Workspace,
) -> Rollback | None:
    """Return the rollback that a release is; only one whose tree proves what its message says."""
    to = plan.rolled_back_to(trailers, project=project.name, target=target.name)
    if release is None or not (to and is_on(store, release, to)):
        return None
    made, brought_back = store.commits([release, to])
    if made.tree != brought_back.tree:
        return None
    by, reason = trailers.get(plan.BY, ""), trailers.get(plan.REASON, "")
    return Rollback(release, to, one_line(by), one_line(reason), plan.moment(made))


def is_on(objects: Objects, tip: str, commit: str) -> bool:
    """Say whether `commit` is the full id of a commit that a branch with this tip contains."""
    return is_object_id(commit) and objects.has(commit) and objects.contains(tip, commit)


@dataclass(frozen=True)
class Planner:
    """What a plan is made from: the target's head `base`, and the upstream's, `tip`."""

    project: Project
    target: Workspace
    upstream: Workspace
    base: Head
    tip: str
    store: Store
    allow: Collection[Allowance]

    def refused(self) -> Rejected | None:
        """Say no to an upstream that lost what was promoted from it before."""
        last, since = self.last_release, self.since
        if last is None or since is None:
            return None  # the first promotion: nothing is known yet
        trailers = self._trailers
        if self.rollback:
            last, trailers = since, self.store.trailers(since)
        names = {
            "project": self.project.name,
            "upstream": self.upstream.name,
            "target": self.target.name,
        }
        promoted = plan.promoted_from(trailers, **names)
        if promoted is None or (promoted and promoted not in self.store.commit(last).parents):
            promoted = last  # it came as it was, by fast-forward; its message may say anything
        if not promoted or self.store.contains(self.tip, promoted):
            return None  # it came from another upstream, or is still there
        if promoted == last and self._upstream_of(last) not in (None, self.upstream.name):
            return None  # so did this, and its record is all that tells
        if not self.store.merge_bases(since, self.tip):
            return self._unrelated()
        return self._no(Allowance.REWRITTEN, self._rewritten(promoted))

    @cached_property
    def rollback(self) -> Rollback | None:
        """The rollback that the target's last release is, if it is one."""
        return rollback_of(
            self.store,
            self.last_release,
            self._trailers,
            project=self.project,
            target=self.target,
        )

    @cached_property
    def _trailers(self) -> Mapping[str, str]:
        return self.store.trailers(self.last_release) if self.last_release else {}

    @property
    def since(self) -> str | None:
        """The commit that the upstream's changes are brought to.

        What a rollback brought back is the target's, as if what it undid had never come.
        """
        return self.rollback.to if self.rollback else self.base.commit

    def hotfixes(self, candidate: str) -> tuple[Commit, ...]:
        """Return the newest commits that the target got by itself since its last release.

        What the candidate contains was brought back. The tip may contain what it does not.
        """
        last, base = self.last_release, self.base.commit
        if last is None or base is None or last == base:
            return ()
        return self.store.log(last, base, limit=CANDIDATES, without=candidate).commits

    def hotfix_paths(self) -> set[str]:
        """Return the paths that the target, which has a release, changed by itself since then."""
        last, base = self.store.commits([str(self.last_release), str(self.base.commit)])
        return {shown(d.path) for d in self.store.differences(last.tree, base.tree)}

    def _upstream_of(self, commit: str) -> str | None:
        """Ask the target's server for a release's record: which upstream it came from."""
        prefix = release.prefix(self.project.name, self.target.name)
        self.store.fetch_tags(self._to, prefix)
        records = (release.parse(tag, text) for tag, text in self.store.tags(prefix))
        return next((found.upstream for found in records if found and found.commit == commit), None)

    def _unrelated(self) -> Rejected | None:
        if self.last_release is None:
            return None  # a platform makes a workspace with a first commit of its own
        return self._no(
            Allowance.UNRELATED,
            f"{self.upstream.name} shares no history with {self.target.name}, which was promoted"
            " to before",
        )

    def _no(self, allowance: Allowance, reason: str) -> Rejected | None:
        if allowance in self.allow:
            return None
        return Rejected(
            self.target.name,
            reason,
            f"check workspaces.{self.upstream.name}.repository; if it is meant, allow"
            f" {allowance.value} for this promotion",
        )

    def _rewritten(self, promoted: str) -> str:
        lost = self.store.log(self.tip, promoted, limit=_LOST)
        named = "; ".join(f"{c.id[:12]} {c.subject} ({c.author})" for c in lost.commits)
        return (
            f"{self.upstream.name} was rewritten: {lost.count} commit(s) that {self.target.name} has"
            f" from it are gone from its branch {self.upstream.branch}: {named}"
        )

    @cached_property
    def last_release(self) -> str | None:
        """Return the newest release in the target's history; one from before a reset is none."""
        head, released = self.base.commit, set(self.base.releases.values())
        if head is None or not released:
            return None
        if head in released:
            return head
        return next((id_ for id_ in self.store.history(head) if id_ in released), None)

    def plan(
        self, candidate: str, news: News | None = None, skipped: Sequence[str] = ()
    ) -> Plan | Rejected | Conflicted:
        """Say what promoting the candidate would do; `news` is what it brings, if that is known.

        `skipped` are heads of the upstream that it overtakes.
        """
        news = news or self.store.log(self.since, candidate, limit=CANDIDATES)
        tip, own = news.commits[0], news.base
        if self.rollback:
            own = self.store.commit(str(self.base.commit))
        try:
            result = self._result(news, own)
        except Unkeepable as problem:
            return Rejected(
                self.target.name,
                f"what {self.target.name} owns cannot be kept: {problem.reason}",
                f"mend the file, or workspaces.{self.target.name}.keep",
            )
        if not isinstance(result, _Result):
            return result
        told = self._told(tip, own, result, news)
        return plan.signed(dataclasses.replace(told, skipped=tuple(skipped)))

    def _told(self, tip: Commit, own: Commit | None, result: _Result, news: News) -> Plan:
        pairs = [(own.tree if own else None, result.tree), (tip.tree, result.tree)]
        changed, kept = self.store.compared(pairs)
        inputs = [own, tip] if own and result.commit != tip.id else [tip]
        time, taken = plan.moment(*inputs), self.base.tags
        return Plan(
            project=self.project.name,
            target=self.target.name,
            upstream=self.upstream.name,
            base=self.base.commit,
            upstream_commit=tip.id,
            commit=result.commit,
            tree=result.tree,
            equality=self._equality(tip, result),
            commit_count=news.count,
            commits=news.commits,
            changes=tuple(Change(d.status, shown(d.path)) for d in changed),
            overwrites=self._overwrites(tip, own, result, changed) if own else (),
            keeps=self._keeps({d.path for d in kept}, tip, result),
            hotfixes=self.hotfixes(tip.id),
            tag=release.tag_of(
                self.project.name, self.target.name, result.commit, time, taken=taken
            ),
        )

    def _equality(self, tip: Commit, result: _Result) -> Equality:
        scope = self.target.scope
        return plan.equality(
            commit=result.commit,
            tree=result.tree,
            upstream=tip,
            in_scope=bool(scope) and not self.store.differences(tip.tree, result.tree, *scope),
            declared=result.declared,
        )

    def _overwrites(
        self, tip: Commit, own: Commit, result: _Result, changed: Sequence[Difference]
    ) -> tuple[Overwrite, ...]:
        return losses.overwrites(
            self.store,
            own.id,
            tip.id,
            result.tree,
            {d.path for d in changed if d.path in result.settled},
            before=result.before,
            access=self._to,
        )

    def _keeps(self, kept: set[bytes], tip: Commit, result: _Result) -> tuple[Kept, ...]:
        unexplained = kept
        if result.declared != tip.tree:
            found = self.store.differences(result.declared, result.tree)
            unexplained = {d.path for d in found}
        return tuple(Kept(shown(path), path not in unexplained) for path in sorted(kept))

    def _result(self, news: News, own: Commit | None) -> _Result | Rejected | Conflicted:
        """Merge, or move forward where nothing of the target's own stands in the way."""
        tip = news.commits[0]
        self.store.complete(self._from, tip.id, base=own.id if own else None)
        if own is None:
            return _Result(tip.id, tip.tree, tip.tree)
        declared = self._with_own(tip.tree, own, Absent.LET_BE)
        bases = self.store.bases_of(news, self.since or own.id)
        unrelated = None if bases else self._unrelated()
        if unrelated:
            return unrelated
        forward = bases == [own.id]
        if forward and declared == tip.tree:
            return _Result(tip.id, tip.tree, tip.tree)
        if self.target.merge.policy is Policy.FF_ONLY:
            return Rejected(
                self.target.name,
                f"{self.target.name} has commits that {self.upstream.name} lacks, and its policy is"
                " ff_only",
                f"bring them into {self.upstream.name} first, or change"
                f" workspaces.{self.target.name}.merge.policy",
            )
        ours, theirs = self._sides(own, tip, bases)
        merged = merge.merge(self.store, ours, theirs, self.target.merge, access=self._to)
        if isinstance(merged, Unmerged):
            return Conflicted(self.target.name, tip.id, merged.paths)
        tree = self._with_own(merged.tree, own, Absent.REFUSE)
        settled, is_exact = set(merged.overwrites), self.target.merge.policy is Policy.EXACT
        before = None
        if bases and (settled or is_exact):
            before = self.store.commit(bases[0]).tree
        if is_exact:
            # All that the target changed since it had the upstream's last may be lost.
            settled = {d.path for d in self.store.differences(before, own.tree)}
        commit = self._commit(tree, [own.id, tip.id], own, tip)
        return _Result(commit, tree, declared, settled, before)

    def _sides(self, own: Commit, tip: Commit, bases: Sequence[str]) -> tuple[str, str]:
        """Return the two commits to merge.

        What the target owns is put into the upstream's side, and into what both began with: as if
        it had never been different, it conflicts with nothing, not even with the line beside it.
        """
        wanted = self._with_own(tip.tree, own, Absent.LEAVE_OUT)
        ours = own.id
        if self.rollback:
            ours = self._commit(own.tree, [self.rollback.to], own, tip)
        if wanted == tip.tree:
            return ours, tip.id
        if not bases:
            return ours, self._commit(wanted, [tip.id], tip, tip)
        began = [
            self._commit(self._as_owned(base, own), [base.id], base, base)
            for base in self.store.commits(bases)
        ]
        return self._commit(own.tree, began, own, tip), self._commit(wanted, began, tip, tip)

    def _as_owned(self, base: Commit, own: Commit) -> str:
        try:
            return self._with_own(base.tree, own, Absent.LEAVE_OUT)
        except Unkeepable:  # both sides may have mended what was no YAML then
            return base.tree

    def _with_own(self, tree: str, own: Commit, absent: Absent) -> str:
        if not self.target.keep:
            return tree
        rules = ownership.Rules.of(self.target.keep)
        return ownership.put_in(self.store, tree, own.tree, rules, access=self._to, absent=absent)

    def _commit(self, tree: str, parents: Sequence[str], *inputs: Commit) -> str:
        """Write the promotion's commit: only its inputs decide, so that two workers make one."""
        return self.store.write_commit(
            tree,
            parents,
            plan.commit_message(
                project=self.project.name,
                upstream=self.upstream.name,
                target=self.target.name,
                upstream_commit=inputs[-1],
            ),
            name=signature(self.project),
            time=plan.moment(*inputs),
        )

    @property
    def _from(self) -> Access:
        return Access.of(self.project, self.upstream)

    @property
    def _to(self) -> Access:
        return Access.of(self.project, self.target)


@dataclass(frozen=True)
class _Result:
    """What a promotion would put onto the target's branch.

    `declared` is the upstream's tree with what the target owns; `settled` are the paths where
    something of the target's may have been lost; `before` is the tree that both sides began with.
    """

    commit: str
    tree: str
    declared: str
    settled: Collection[bytes] = frozenset()
    before: str | None = None


def signature(project: Project) -> str:
    """Return the name that stands on commits and tags of ours."""
    return f"dataops_dagster ({project.name})"
