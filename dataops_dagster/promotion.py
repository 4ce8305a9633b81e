"""The story of a promotion: heads, then candidate and gate, then plan, then publish.

One way, each function takes what the last returned. The command line, the ops and the sensors
all call these; only `publish` writes to a workspace.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from dataops_dagster import readings, release
from dataops_dagster.cache import CacheBroken
from dataops_dagster.errors import DataOpsError
from dataops_dagster.gate import landing
from dataops_dagster.gate.evidence import Choice
from dataops_dagster.gate.verdicts import all_of, any_of, is_open
from dataops_dagster.git import Access
from dataops_dagster.heads import Head, Heads, look_up_all
from dataops_dagster.judging import Judge
from dataops_dagster.model import (
    Allowance,
    Answer,
    Book,
    Conflicted,
    Considered,
    Held,
    NothingToDo,
    Override,
    Plan,
    Promoted,
    Raced,
    Ready,
    Rejected,
    Release,
)
from dataops_dagster.planning import CANDIDATES, Planner, is_on, signature
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_gate import FanIn
from dataops_dagster.store import Store

RACES = 5
"""How often a lost race is planned anew before we give up until the next time."""


def consider(
    project: Project,
    target: Workspace,
    *,
    store: Store,
    book: Book,
    now: datetime,
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
    asked = heads or look_up_all(project, [target.name, *target.upstream])
    look = partial(
        _considered,
        *(project, target, asked),
        store=store,
        book=book,
        now=now,
        commit=commit,
        override=override,
        allow=allow,
    )
    try:
        return look()
    except CacheBroken:
        return look()  # in the new one


def _considered(
    project: Project,
    target: Workspace,
    heads: Heads,
    *,
    store: Store,
    book: Book,
    now: datetime,
    commit: str | None,
    override: Override | None,
    allow: Collection[Allowance],
) -> Considered:
    upstreams = project.upstreams_of(target)
    base = _head(heads[target.name])
    found = {upstream.name: _head(heads[upstream.name]).commit for upstream in upstreams}
    tips = {name: tip for name, tip in found.items() if tip}
    any_will_do = target.gate is None or target.gate.upstreams is FanIn.ANY
    for upstream in upstreams:
        if upstream.name not in tips and not (any_will_do and tips):
            return Rejected(
                target.name,
                f"{upstream.name} has no branch {upstream.branch}",
                f"push to it first, or mend workspaces.{upstream.name}.branch",
            )
    upstreams = tuple(upstream for upstream in upstreams if upstream.name in tips)
    chosen = upstreams if any_will_do else upstreams[:1]
    if commit is None and all((base.commit, tips[u.name]) in _contained for u in chosen):
        return NothingToDo(target.name, str(base.commit), tips[chosen[0].name])
    _bring(project, [(u, tips[u.name]) for u in upstreams] + [(target, base.commit)], store)
    answers = []
    for upstream in chosen:
        planner = Planner(project, target, upstream, base, tips[upstream.name], store, allow)
        asked = {upstream.name: tips[upstream.name]} if any_will_do else tips
        judge = Judge(planner, book, now, allow, asked)
        answers.append(_decide(judge, commit, override=override))
        if isinstance(answers[-1], Ready):
            break
    return _first(answers)


_RANKS = (Ready, Held, Conflicted, Rejected, NothingToDo)


def _first(answers: Sequence[Considered]) -> Considered:
    """Return the answer that leads farthest; several upstreams may each hold something back."""
    found = min(answers, key=lambda answer: _RANKS.index(type(answer)))
    held = [answer for answer in answers if isinstance(answer, Held)]
    if not isinstance(found, Held) or len(held) == 1:
        return found
    parts = tuple(all_of("gate", answer.verdicts) for answer in held)
    return Held(found.target, (any_of("upstreams", parts),), found.plan)


def _decide(judge: Judge, commit: str | None, *, override: Override | None) -> Considered:
    planner, target, upstream = judge.planner, judge.target, judge.planner.upstream
    store, tip = planner.store, planner.tip
    if commit is not None and not is_on(store, tip, commit):
        return Rejected(
            target.name,
            f"{commit} is not a commit on {upstream.name}'s branch {upstream.branch}",
            "name the full id of a commit that is on it",
        )
    wanted = commit or tip
    with store.foreseen(planner.base.commit):
        news = store.log(planner.since, wanted, limit=CANDIDATES)
    if not news.count:
        return _nothing_to_do(planner, wanted)
    refused = planner.refused()
    if refused:
        return refused
    heads = store.heads_in(news, planner.since, limit=CANDIDATES)
    choice = judge.choose(heads[:1] if commit else heads, news)
    chosen = choice.commit or (wanted if override else None)
    if chosen is None:
        return Held(target.name, (*choice.verdicts, *judge.on_target()))
    # Nothing waited to be promoted before there was a first promotion.
    skipped = heads[heads.index(chosen) + 1 :] if planner.last_release else []
    planned = planner.plan(chosen, news if chosen == wanted else None, skipped)
    if not isinstance(planned, Plan):
        return planned
    planned = readings.described(planned, planner.project, store=store, now=judge.now)
    return _asked(judge, choice, planned, override)


def _asked(judge: Judge, choice: Choice, plan: Plan, override: Override | None) -> Ready | Held:
    """Let the whole gate judge a plan."""
    verdicts = (
        *choice.verdicts,
        *judge.on_target(),
        *judge.on_plan(plan, choice.evidence),
    )
    if is_open(verdicts):
        return Ready(plan, verdicts, choice.evidence)  # an override is recorded where it was needed
    if override is None:
        return Held(plan.target, verdicts, plan)
    passed_over = tuple(landing.overridden(verdict, override.reason) for verdict in verdicts)
    return Ready(plan, passed_over, choice.evidence, override)


_contained: set[tuple[str | None, str]] = set()
"""Pairs of commits of which the first contains the second: that never changes, so that looking again
and again costs nothing but the look-up."""

_MANY_PAIRS = 10_000


def _nothing_to_do(planner: Planner, wanted: str) -> NothingToDo:
    target, head, has, tip = planner.target.name, planner.base.commit, planner.since, planner.tip
    assert head  # what lacks nothing is not empty
    assert has
    # Also when an older commit was named: what the target has is what counts.
    if wanted != tip and not planner.store.contains(has, tip):
        return NothingToDo(target, head, wanted)
    if len(_contained) > _MANY_PAIRS:
        _contained.clear()
    _contained.add((has, tip))
    return NothingToDo(target, head, tip)


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
    plan = considered.plan if isinstance(considered, Ready | Held) else None
    if digest is None or plan is None or plan.digest == digest:
        return considered
    return Rejected(
        plan.target,
        f"the world moved: what would be published now is the plan {plan.digest}",
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
        return Raced(target.name, planned.base, refused.lock)
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
    book: Book,
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
    for attempt in range(1, RACES + 1):
        considered = consider(
            project,
            target,
            store=store,
            book=book,
            now=now,
            commit=commit,
            override=override,
            allow=allow,
        )
        considered = agreed(considered, digest)
        if not isinstance(considered, Ready):
            return considered
        try:
            answer = publish(project, considered, store=store, now=now)
        except CacheBroken:  # what the plan rests on is gone; the next one fetches it anew
            if attempt == RACES:
                raise
            continue
        if not isinstance(answer, Raced) or answer.lock:
            break
    return answer


def releases(project: Project, target: Workspace, *, store: Store) -> list[Release]:
    """Read a target's releases from its repository, newest first; needs git alone."""
    prefix = release.prefix(project.name, target.name)
    store.fetch_tags(Access.of(project, target), prefix)
    found = (release.parse(tag, text) for tag, text in store.tags(prefix))
    return sorted((r for r in found if r), key=lambda r: (r.time, r.tag), reverse=True)


def _head(found: Head | DataOpsError) -> Head:
    if isinstance(found, DataOpsError):
        raise found
    return found
