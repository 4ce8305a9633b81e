"""Which commit did the upstream's runs prove? Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from dataops_dagster.gate.decisions import SKEW, rejected_verdict
from dataops_dagster.gate.verdicts import all_of, is_open
from dataops_dagster.model import Decision, Evidence, Outcome, State, Verdict
from dataops_dagster.settings import Supersede
from dataops_dagster.settings_gate import Gate
from dataops_dagster.settings_steps import Step
from dataops_dagster.text import moment, span


@dataclass(frozen=True)
class Candidate:
    """A commit that could be promoted, and its tree."""

    commit: str
    tree: str


@dataclass(frozen=True)
class Witness:
    """What the runs of one upstream in one environment say, by the candidate's commit."""

    upstream: str
    environment: str
    evidence: Mapping[str, Sequence[Evidence]]


@dataclass(frozen=True)
class Choice:
    """The candidate that passes, or is proven and waits for something else, and what is said of it.

    Without one the verdicts are those on the newest.
    """

    commit: str | None
    verdicts: tuple[Verdict, ...]
    evidence: tuple[Evidence, ...] = ()


def what_ran(step: Step, *, tree: str, environment: str, at: Sequence[str] = ()) -> str:
    """Return the digest of what a run is: the step's settings, the files, the environment, and where.

    `at` names the place, for a platform that has one beside its step (see `Workspace.run_at`).
    """
    # What only says when, how long, or what Dagster shows, changes nothing of what ran.
    settings = step.model_dump(mode="json", exclude={"when", "deadline", "streams", "produces"})
    text = json.dumps([settings, tree, environment, *at], sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def choose(
    candidates: Sequence[Candidate],
    witnesses: Sequence[Witness],
    gate: Gate,
    decisions: Sequence[Decision],
    *,
    now: datetime,
    supersede: Supersede = Supersede.LATEST,
) -> Choice:
    """Choose among the candidates, which are newest first.

    Not the tip: a busy upstream would otherwise starve its target.
    """
    judged = [
        (
            c,
            _verdicts(
                c,
                count=len(candidates),
                witnesses=witnesses,
                gate=gate,
                decisions=decisions,
                now=now,
            ),
        )
        for c in candidates
    ]
    passing = [i for i, (_, verdicts) in enumerate(judged) if is_open(verdicts)]
    if passing:
        chosen = passing[0] if supersede is Supersede.LATEST else passing[-1]
    else:
        # What opens first by itself is nearest; else the newest is, for it can still be proven.
        chosen = min(range(len(judged)), key=lambda i: _opens(judged[i][1]))
    candidate, verdicts = judged[chosen]
    if not (passing or _is_proven(verdicts)):
        return Choice(None, verdicts)
    # What is proven is planned while it waits: people can look at it, and approve it.
    proofs = (_unbroken(w.evidence.get(candidate.commit, ()), now) for w in witnesses)
    return Choice(
        candidate.commit,
        verdicts,
        tuple(e for proof in proofs for e in proof[-max(1, gate.runs) :]),
    )


def _opens(verdicts: Sequence[Verdict]) -> datetime:
    return all_of("gate", verdicts).earliest or datetime.max.replace(tzinfo=timezone.utc)


def _verdicts(
    candidate: Candidate,
    *,
    count: int,
    witnesses: Sequence[Witness],
    gate: Gate,
    decisions: Sequence[Decision],
    now: datetime,
) -> tuple[Verdict, ...]:
    parts = [evidence_verdict(candidate.commit, w, gate, now=now, count=count) for w in witnesses]
    verdicts = [all_of("evidence", parts)] if parts else []
    if gate.soak and parts:
        soaks = [soak_verdict(candidate.commit, w, gate.soak, now=now) for w in witnesses]
        verdicts.append(all_of("soak", soaks))
    rejected = rejected_verdict(candidate.commit, candidate.tree, decisions, now=now)
    return (*verdicts, rejected) if rejected else tuple(verdicts)


def _is_proven(verdicts: Sequence[Verdict]) -> bool:
    return (verdicts[0].condition, verdicts[0].state) == ("evidence", State.PASSED)


def evidence_verdict(
    commit: str, witness: Witness, gate: Gate, *, now: datetime, count: int = 1
) -> Verdict:
    """Say whether enough runs of an upstream succeeded at a commit, the newest of `count`.

    A later failure revokes what earlier successes proved; a run that could not find out counts
    neither way.
    """
    found = witness.evidence.get(commit, ())
    upstream, where = witness.upstream, f"in environment {witness.environment}"
    known = _known(found, now)
    successes = _unbroken(found, now)
    fresh = [e for e in successes if gate.max_age is None or now - e.time <= gate.max_age]
    if len(fresh) >= max(1, gate.runs):
        many = f"{len(fresh)} runs, the last is" if gate.runs > 1 else "run"
        return Verdict(
            "evidence",
            State.PASSED,
            f"{upstream} at {commit[:12]} passed {where} ({many} {fresh[-1].run_id})",
            who="nobody needs to",
        )
    runs = "a successful run" if gate.runs <= 1 else f"{gate.runs} successful runs"
    wanted = f"waits for {runs} of {upstream} {where}"
    who = f"whoever may run {upstream}"
    if (failures := _failures(known)) and not successes:
        last = failures[-1]
        detail = f" ({last.detail})" if last.detail else ""
        reason = f"{wanted}: its run at {commit[:12]} failed{detail}, run {last.run_id}"
        return Verdict("evidence", State.FAILED, reason, who=f"whoever can mend {upstream}")
    if not successes:
        others = f" and {count - 1} more" if count > 1 else ""
        reason = f"{wanted}: no run is recorded for {commit[:12]}{others}"
    elif gate.max_age is None or fresh == successes:
        reason = f"{wanted}: {len(fresh)} of {gate.runs} are recorded for {commit[:12]}"
    else:
        reason = (
            f"{wanted}: {len(successes) - len(fresh)} at {commit[:12]} is older than"
            f" {span(gate.max_age)}, the last of {moment(successes[-1].time)}"
        )
    return Verdict("evidence", State.PENDING, reason, who)


def soak_verdict(commit: str, witness: Witness, soak: timedelta, *, now: datetime) -> Verdict:
    """Say whether an upstream has stood the test long enough, without a failure in between."""
    successes = _unbroken(witness.evidence.get(commit, ()), now)
    who = "nobody; time passes"
    if not successes:
        reason = f"begins with a successful run of {witness.upstream}"
        return Verdict("soak", State.PENDING, reason, f"whoever may run {witness.upstream}")
    ends = successes[0].time + soak
    since = f"{witness.upstream} at {commit[:12]} stands since {moment(successes[0].time)}"
    if now >= ends:
        return Verdict("soak", State.PASSED, f"{since}, longer than {span(soak)}", who)
    return Verdict("soak", State.PENDING, f"{since}, and has to for {span(soak)}", who, ends)


def _known(evidence: Sequence[Evidence], now: datetime) -> list[Evidence]:
    """Return failures, and successes but those to come, oldest first."""
    told = [
        e
        for e in evidence
        if e.outcome is Outcome.FAILED or (e.outcome is Outcome.PASSED and e.time <= now + SKEW)
    ]
    # Of two at one moment the failure counts: in doubt the gate stays closed.
    return sorted(told, key=lambda e: (e.time, e.outcome is Outcome.FAILED))


def _unbroken(evidence: Sequence[Evidence], now: datetime) -> list[Evidence]:
    """Return the successes since the last failure, oldest first, one a run.

    Since by their dates and by their places: where a clock was put back, a date alone would let an
    earlier success outlive a later failure.
    """
    known = _known(evidence, now)
    newest = max((failure.place for failure in _failures(known)), default=0)
    successes: dict[str, Evidence] = {}
    for found in known:
        if found.outcome is Outcome.FAILED:
            successes = {}
        elif found.place >= newest:
            successes.setdefault(found.run_id, found)
    return list(successes.values())


def _failures(known: Sequence[Evidence]) -> list[Evidence]:
    return [e for e in known if e.outcome is Outcome.FAILED]
