"""The story of a promotion: heads, then candidate and gate, then plan, then publish.

One way, each function takes what the last returned. The command line, the ops and the sensors
all call these; only `publish` writes to a workspace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dataops_dagster import gate, plan, release
from dataops_dagster.errors import DataOpsError
from dataops_dagster.git import LOOKUP_SECONDS, Access, branch_ref, is_object_id
from dataops_dagster.model import (
    Answer,
    Conflicted,
    Considered,
    Equality,
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
from dataops_dagster.remotes import Remote
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store, Unmerged

CANDIDATES = 256
"""How many of the upstream's newest commits are looked through for a proven one."""

RACES = 5
"""How often a lost race is planned anew before we give up until the next time."""

_LOOKUPS = 8


@dataclass(frozen=True)
class Head:
    """Where a workspace's branch stands.

    `releases` maps a release's tag to its commit; `tags` are all names that stand beside them.
    """

    workspace: str
    commit: str | None
    releases: Mapping[str, str]
    tags: frozenset[str]

    @property
    def release(self) -> str | None:
        """The tag of the promotion that made this head, or None when it came another way."""
        tags = sorted(tag for tag, commit in self.releases.items() if commit == self.commit)
        return tags[-1] if tags else None


Heads: TypeAlias = Mapping[str, Head | DataOpsError]
"""What was looked up, by workspace; an error where its server failed us."""


def look_up(project: Project, workspace: Workspace) -> Head:
    """Ask the server where a workspace's branch and releases are."""
    ref, prefix = branch_ref(workspace.branch), release.prefix(project.name, workspace.name)
    refs = Remote(Access.of(project, workspace)).refs([ref, f"{prefix}/*"], LOOKUP_SECONDS)
    named = {name.removeprefix("refs/tags/"): id_ for name, id_ in refs.items() if name != ref}
    # Only an annotated tag can be a release; git tells the commit it points to as NAME^{}.
    releases = {n.removesuffix("^{}"): id_ for n, id_ in named.items() if n.endswith("^{}")}
    tags = frozenset(name for name in named if not name.endswith("^{}"))
    return Head(workspace.name, refs.get(ref), releases, tags)


def look_up_all(
    project: Project, names: Iterable[str] | None = None
) -> dict[str, Head | DataOpsError]:
    """Look up several workspaces at once; a server that fails us spoils only its own answer."""
    workspaces = [project.workspaces[name] for name in names or project.workspaces]

    def one(workspace: Workspace) -> Head | DataOpsError:
        try:
            return look_up(project, workspace)
        except DataOpsError as error:
            return error

    with ThreadPoolExecutor(_LOOKUPS) as pool:
        return dict(zip((w.name for w in workspaces), pool.map(one, workspaces), strict=True))


def consider(
    project: Project,
    target: Workspace,
    *,
    store: Store,
    book: EvidenceBook,
    commit: str | None = None,
    override: Override | None = None,
    heads: Heads | None = None,
) -> Considered:
    """Find what could be promoted into `target` now, ask its gate, and plan it.

    Writes to no workspace. Without `commit` the candidate is the newest upstream commit that the
    gate accepts. Raises `DataOpsError` when a server or a tool fails.
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
    store.fetch(Access.of(project, upstream), upstream.branch, tip.commit)
    if base.commit:
        store.fetch(Access.of(project, target), target.branch, base.commit)
    if commit is not None and not is_on(store, tip.commit, commit):
        return Rejected(
            target.name,
            f"{commit} is not a commit on {upstream.name}'s branch {upstream.branch}",
            "name the full id of a commit that is on it",
        )
    wanted = tip.commit if commit is None else commit
    waiting = store.missing_from(base.commit, wanted, limit=CANDIDATES, first_parent=True)
    if not waiting:
        assert base.commit  # what lacks nothing is not empty
        # Also when an older commit was named: what the target has is what counts.
        has_all = store.contains(base.commit, tip.commit)
        return NothingToDo(target.name, base.commit, tip.commit if has_all else wanted)
    candidates = waiting if commit is None else [commit]
    judged = _judge(
        project, target, upstream, candidates, store=store, book=book, override=override
    )
    if isinstance(judged, Held):
        return judged
    planned = _plan(project, target, upstream, base=base, candidate=judged.commit, store=store)
    if isinstance(planned, Plan):
        return Ready(planned, judged.verdicts, judged.evidence, judged.override)
    return planned


def is_on(store: Store, tip: str, commit: str) -> bool:
    """Say whether `commit` is the full id of a commit that a branch with this tip contains."""
    return is_object_id(commit) and store.has(commit) and store.contains(tip, commit)


def publish(project: Project, ready: Ready, *, store: Store, now: datetime) -> Answer:
    """Move the target's branch from the plan's base to its commit, and record the release."""
    planned = ready.plan
    target = project.workspaces[planned.target]
    made = release.of(ready, now)
    record = store.write_tag(
        made.tag,
        made.commit,
        release.message(made),
        name=_signature(project),
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
) -> Answer:
    """Consider and publish; a lost race is considered anew from the start, gate included."""
    answer: Answer = Raced(target.name, None)
    for _ in range(RACES):
        considered = consider(
            project, target, store=store, book=book, commit=commit, override=override
        )
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
    project: Project,
    target: Workspace,
    upstream: Workspace,
    candidates: Sequence[str],
    *,
    store: Store,
    book: EvidenceBook,
    override: Override | None,
) -> _Judged | Held:
    """Let the gate choose among the candidates, which are newest first."""
    environment = project.evidence_environment(target)
    if environment is None:
        return _Judged(candidates[0])
    claimed = book.find(project.name, upstream.name, environment, candidates)
    trees = {c.id: c.tree for c in store.commits(sorted({e.commit for e in claimed}))}
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


def _plan(
    project: Project,
    target: Workspace,
    upstream: Workspace,
    *,
    base: Head,
    candidate: str,
    store: Store,
) -> Plan | Rejected | Conflicted:
    tip = store.commit(candidate)
    overwrites: tuple[str, ...] = ()
    if base.commit is None or store.contains(candidate, base.commit):
        commit, tree, time = candidate, tip.tree, plan.moment(tip)  # a fast-forward
    elif not store.related(base.commit, candidate) and _was_promoted_to(base, store):
        return Rejected(
            target.name,
            f"{upstream.name} shares no history with {target.name}, which was promoted to before",
            f"check workspaces.{upstream.name}.repository; a wrong one would merge a foreign"
            " project",
        )
    else:
        merged = store.merge(base.commit, candidate)
        if isinstance(merged, Unmerged):
            return Conflicted(target.name, candidate, merged.paths)
        tree, overwrites = merged.tree, merged.overwrites
        # Only the inputs decide the date, so that two workers make one commit.
        time = plan.moment(store.commit(base.commit), tip)
        commit = store.write_commit(
            tree,
            [base.commit, candidate],
            plan.commit_message(
                project=project.name,
                upstream=upstream.name,
                target=target.name,
                upstream_commit=tip,
            ),
            name=_signature(project),
            time=time,
        )
    base_tree = store.commit(base.commit).tree if base.commit else None
    equality = plan.equality(commit=commit, tree=tree, upstream=tip)
    return plan.signed(
        Plan(
            project=project.name,
            target=target.name,
            upstream=upstream.name,
            base=base.commit,
            upstream_commit=candidate,
            commit=commit,
            tree=tree,
            equality=equality,
            commit_count=store.count_missing_from(base.commit, candidate),
            commits=store.commits(store.missing_from(base.commit, candidate, limit=CANDIDATES)),
            changes=store.changes(base_tree, tree),
            overwrites=overwrites,
            keeps=()
            if equality is not Equality.EXPLAINED
            else tuple(change.path for change in store.changes(tip.tree, tree)),
            tag=release.tag_of(project.name, target.name, commit, time, taken=base.tags),
        )
    )


def _was_promoted_to(base: Head, store: Store) -> bool:
    """Say whether a release is in the head's history; one from before a reset does not count."""
    assert base.commit
    released = set(base.releases.values())
    return any(store.has(c) and store.contains(base.commit, c) for c in released)


def _head(found: Head | DataOpsError) -> Head:
    if isinstance(found, DataOpsError):
        raise found
    return found


def _signature(project: Project) -> str:
    return f"dataops_dagster ({project.name})"
