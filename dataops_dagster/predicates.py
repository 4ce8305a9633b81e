"""A condition of the user's own: a Python function that `gate.predicate` names."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import TypeAlias

from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Evidence, Plan, State, Verdict
from dataops_dagster.text import one_line

Predicate: TypeAlias = Callable[[Plan, Sequence[Evidence], datetime], "Verdict | str | None"]
"""Takes the plan, the evidence for it, and the moment. Answers None for yes, why it is not time
yet, or a verdict."""

_LONGEST = 300


def load(name: str, where: str) -> Predicate:
    """Import the function that `name` (`module:function`) names; raises `ConfigError`."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001  # a module of the user's may raise anything
        raise ConfigError.at(
            where,
            f"{name} cannot be imported: {type(error).__name__}: {one_line(str(error))[:_LONGEST]}",
            "name module:function of a module that Dagster's processes, and this command, can import",
        ) from None
    if not callable(found):
        raise ConfigError.at(where, f"{name} is no function", "name module:function")
    return found  # type: ignore[no-any-return]  # what it returns is looked at below


def verdict(
    name: str, plan: Plan, evidence: Sequence[Evidence], now: datetime, *, where: str
) -> Verdict:
    """Ask the function; one that raises, or answers nonsense, keeps the gate closed."""
    predicate, who = load(name, where), f"whoever keeps {name}"
    try:
        answer = predicate(plan, evidence, now)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # closed, whatever it is
        text = one_line(str(error))[:_LONGEST]
        return Verdict("predicate", State.FAILED, f"{name}: {type(error).__name__}: {text}", who)
    match answer:
        case None:
            return Verdict("predicate", State.PASSED, f"{name} agrees", who)
        case str(reason):
            return Verdict("predicate", State.PENDING, f"{name}: {one_line(reason)}", who)
        case Verdict(state=State(), earliest=None | datetime(tzinfo=tzinfo())):
            return _inert(answer)
        case _:
            problem = (
                f"{name} answers {one_line(repr(answer))[:_LONGEST]}, not None, text or a Verdict"
            )
            return Verdict("predicate", State.FAILED, problem, who)


def _inert(verdict: Verdict) -> Verdict:
    """Keep what a function says on lines of its own: it may repeat what stands in a repository."""
    return dataclasses.replace(
        verdict,
        condition=one_line(verdict.condition),
        reason=one_line(verdict.reason),
        who=one_line(verdict.who),
        parts=tuple(map(_inert, verdict.parts)),
    )
