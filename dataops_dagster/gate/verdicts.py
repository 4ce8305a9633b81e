"""How verdicts combine, and how a tree of them reads. Pure.

Its lines are the one text of the command line, the sensor, the asset and its check.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from dataops_dagster.model import State, Verdict
from dataops_dagster.text import moment

_MARKS = {State.PASSED: "passed", State.PENDING: "waits", State.FAILED: "closed"}


def is_open(verdicts: Sequence[Verdict]) -> bool:
    """Say whether every condition passed."""
    return all(verdict.state is State.PASSED for verdict in verdicts)


def all_of(condition: str, parts: Sequence[Verdict]) -> Verdict:
    """Return the verdict that passes when all parts do; a single part speaks for itself."""
    if len(parts) == 1:
        return parts[0]
    if is_open(parts):
        return Verdict(condition, State.PASSED, "all passed", "nobody needs to", parts=tuple(parts))
    waiting = [part for part in parts if part.state is not State.PASSED]
    failed = any(part.state is State.FAILED for part in waiting)
    times = [part.earliest for part in waiting]
    return Verdict(
        condition,
        State.FAILED if failed else State.PENDING,
        "; ".join(part.reason for part in waiting),
        "; ".join(dict.fromkeys(part.who for part in waiting)),
        None if None in times else max(filter(None, times)),
        tuple(parts),
    )


def any_of(condition: str, parts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on parts of which one has to pass, and none does yet."""
    times: list[datetime] = [part.earliest for part in parts if part.earliest]
    return Verdict(
        condition,
        State.FAILED if all(part.state is State.FAILED for part in parts) else State.PENDING,
        "; or ".join(part.reason for part in parts),
        "; or ".join(dict.fromkeys(part.who for part in parts)),
        min(times) if len(times) == len(parts) else None,
        tuple(parts),
    )


def nested(verdicts: Sequence[Verdict], depth: int = 0) -> Iterator[tuple[int, Verdict]]:
    """Yield each verdict with its depth, its parts after it."""
    for verdict in verdicts:
        yield depth, verdict
        yield from nested(verdict.parts, depth + 1)


def lines(verdicts: Sequence[Verdict], depth: int = 0) -> list[str]:
    """Return one line a verdict, its parts below it, two spaces deeper."""
    return ["  " * depth + line(verdict) for depth, verdict in nested(verdicts, depth)]


def line(verdict: Verdict) -> str:
    """Return a verdict as one line: where it stands, why, who can change it, and when it can pass."""
    text = f"{_MARKS[verdict.state]} {verdict.condition}: {_reason(verdict)}"
    if verdict.state is State.PASSED or verdict.parts:
        return text
    if verdict.earliest:
        text += f" [not before {moment(verdict.earliest)}]"
    return f"{text} [{verdict.who}]"


def _reason(verdict: Verdict) -> str:
    """Return the reason; of one that has parts, each line below says its own."""
    passed = sum(part.state is State.PASSED for part in verdict.parts)
    return f"{passed} of {len(verdict.parts)} passed" if verdict.parts else verdict.reason
