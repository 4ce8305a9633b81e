"""The story of a promotion: heads, then candidate and gate, then plan, then publish.

One way, each function takes what the last returned. The command line, the ops and the sensors
all call these; only `publish` writes to a workspace.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from dataops_dagster import gate, release
from dataops_dagster.errors import DataOpsError
from dataops_dagster.git import Access
from dataops_dagster.heads import Head, Heads, look_up_all
from dataops_dagster.model import (
    Allowance,
    Answer,
    Considered,
    Evidence,
    EvidenceBook,
    Held,
    NothingToDo,
    Override,
    Plan,
    Promoted,
    Raced,
    Ready,
    Rejected,
    Release,
    Verdict,
)
from dataops_dagster.planning import CANDIDATES, Planner, is_on, signature
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store

RACES = 5
"""How often a lost race is planned anew before we give up until the next time."""


def consider(
    project: Project,
    target: Workspace,
    *,
    store: Store,
    book: EvidenceBook,
    commit: str | None = None,
    override: Override | None = None,
    allow: Collection[Allowance] = (),
    heads: Heads | None = None,
) -> Considered:
    """Find what could be promoted into `target` now, ask its gate, and plan it.

    Writes to no workspace. Without `commit` the candidate is the newest upstream commit that the
    gate accepts; `allow` names what would be refused otherwise. Raises `DataOpsError` when a server
    or a tool fails.
    """
    upstream = project.upstream_of(target)
    heads = heads or look_up_all(project, [target.name, upstream.name])
    base, tip = _head(heads[target.name]), _head(heads[upstream.name])
    if tip.commit is None:
        return Rejected(
            target.name,
            f"{upstream.name} has no branch {upstream.branch}",
            f"push to it first, or mend workspaces.{upstream.name}.branch",
        )
    if commit is None and (base.commit, tip.commit) in _contained:
        return NothingToDo(target.name, str(base.commit), tip.commit)
    _bring(project, [(upstream, tip.commit), (target, base.commit)], store)
    planner = Planner(project, target, upstream, base, tip.commit, store, allow)
    return _decide(planner, commit, book=book, override=override)


def _decide(
    planner: Planner, commit: str | None, *, book: EvidenceBook, override: Override | None
) -> Considered:
    target, upstream, store = planner.target, planner.upstream, planner.store
    base, tip = planner.base.commit, planner.tip
    if commit is not None and not is_on(store, tip, commit):
        return Rejected(
            target.name,
            f"{commit} is not a commit on {upstream.name}'s branch {upstream.branch}",
            "name the full id of a commit that is on it",
        )
    wanted = commit or tip
    news = store.log(base, wanted, limit=CANDIDATES)
    if not news.count:
        return _nothing_to_do(target, base, tip, wanted, store)
    refused = planner.refused()
    if refused:
        return refused
    candidates = [commit] if commit else store.heads_in(news, base, limit=CANDIDATES)
    judged = _judge(planner, candidates, book=book, override=override)
    if isinstance(judged, Held):
        return judged
    planned = planner.plan(judged.commit, news if judged.commit == wanted else None)
    if isinstance(planned, Plan):
        return Ready(planned, judged.verdicts, judged.evidence, judged.override)
    return planned


_contained: set[tuple[str | None, str]] = set()
"""Pairs of commits of which the first contains the second: that never changes, so that looking again
and again costs nothing but the look-up."""

_MANY_PAIRS = 10_000


def _nothing_to_do(
    target: Workspace, base: str | None, tip: str, wanted: str, store: Store
) -> NothingToDo:
    assert base  # what lacks nothing is not empty
    # Also when an older commit was named: what the target has is what counts.
    if wanted != tip and not store.contains(base, tip):
        return NothingToDo(target.name, base, wanted)
    if len(_contained) > _MANY_PAIRS:
        _contained.clear()
    _contained.add((base, tip))
    return NothingToDo(target.name, base, tip)


def _bring(project: Project, heads: Sequence[tuple[Workspace, str | None]], store: Store) -> None:
    """Bring heads into the cache, where they are not there yet."""
    commits = [commit for _, commit in heads if commit]
    # Where the target has a base, its server has nearly all contents already.
    partly = len(commits) == len(heads)
    while missing := store.unfetched(*commits):
        made = store.made
        for workspace, commit in heads:
            if commit in missing:
                access = Access.of(project, workspace)
                store.bring(access, workspace.branch, str(commit), without_blobs=partly)
        if store.made == made:
            return  # else the cache was made anew, and what was fetched first is gone


def agreed(considered: Considered, digest: str | None) -> Considered:
    """Refuse a plan that is not the one that `digest` names."""
    if digest is None or not isinstance(considered, Ready) or considered.plan.digest == digest:
        return considered
    return Rejected(
        considered.plan.target,
        f"the world moved: what would be published now is the plan {considered.plan.digest}",
        "look at the plan anew; naming its commit too keeps newer ones out of it",
    )


def publish(project: Project, ready: Ready, *, store: Store, now: datetime) -> Answer:
    """Move the target's branch from the plan's base to its commit, and record the release."""
    planned = ready.plan
    target = project.workspaces[planned.target]
    made = release.of(ready, now)
    record = store.write_tag(
        made.tag,
        made.commit,
        release.message(made),
        name=signature(project),
        time=int(made.time.timestamp()),
    )
    refused = store.publish(
        Access.of(project, target),
        target.branch,
        base=planned.base,
        commit=planned.commit,
        tags={made.tag: record},
    )
    if refused is None:
        return Promoted(ready, made)
    if refused.moved:
        return Raced(target.name, planned.base)
    return Rejected(
        target.name,
        f"the server of {target.name} refused the push: {refused.reason}",
        f"let the identity behind workspaces.{target.name} push to {target.branch} and create"
        f" tags below {release.prefix(project.name, target.name)}",
    )


def promote(
    project: Project,
    target: Workspace,
    *,
    store: Store,
    book: EvidenceBook,
    now: datetime,
    commit: str | None = None,
    override: Override | None = None,
    allow: Collection[Allowance] = (),
    digest: str | None = None,
) -> Answer:
    """Consider and publish; a lost race is considered anew from the start, gate included.

    With `digest` only the plan that it names is published.
    """
    answer: Answer = Raced(target.name, None)
    for _ in range(RACES):
        considered = consider(
            project, target, store=store, book=book, commit=commit, override=override, allow=allow
        )
        considered = agreed(considered, digest)
        if not isinstance(considered, Ready):
            return considered
        answer = publish(project, considered, store=store, now=now)
        if not isinstance(answer, Raced):
            break
    return answer


def releases(project: Project, target: Workspace, *, store: Store) -> list[Release]:
    """Read a target's releases from its repository, newest first; needs git alone."""
    prefix = release.prefix(project.name, target.name)
    store.fetch_tags(Access.of(project, target), prefix)
    found = (release.parse(tag, text) for tag, text in store.tags(prefix))
    return sorted((r for r in found if r), key=lambda r: (r.time, r.tag), reverse=True)


@dataclass(frozen=True)
class _Judged:
    commit: str
    verdicts: tuple[Verdict, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    override: Override | None = None  # only one that was needed is worth recording


def _judge(
    planner: Planner,
    candidates: Sequence[str],
    *,
    book: EvidenceBook,
    override: Override | None,
) -> _Judged | Held:
    """Let the gate choose among the candidates, which are newest first."""
    project, target, upstream = planner.project, planner.target, planner.upstream
    environment = project.evidence_environment(target)
    if environment is None:
        return _Judged(candidates[0])
    claimed = book.find(project.name, upstream.name, environment, candidates)
    trees = {c.id: c.tree for c in planner.store.commits(sorted({e.commit for e in claimed}))}
    # Evidence about another tree than the commit's is no evidence about the commit.
    found = [evidence for evidence in claimed if evidence.tree == trees[evidence.commit]]
    verdict = gate.evidence_verdict(
        candidates, found, upstream=upstream.name, environment=environment
    )
    if gate.is_open([verdict]):
        proof = gate.newest_proven(candidates, found)
        assert proof, "a passed verdict names its proof"
        return _Judged(proof[0], (verdict,), (proof[1],))
    if override:
        passed_over = gate.overridden(verdict, override.reason)
        return _Judged(candidates[0], (passed_over,), override=override)
    return Held(target.name, (verdict,))


def _head(found: Head | DataOpsError) -> Head:
    if isinstance(found, DataOpsError):
        raise found
    return found
