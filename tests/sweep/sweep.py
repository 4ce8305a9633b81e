"""Strikes at every moment of every act, lets one more attempt follow, and asks each promise."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.sweep import promises, worlds
from tests.sweep.cases import Case, Wrong
from tests.sweep.nursery import Ended, Nursery
from tests.sweep.promises import Facts
from tests.sweep.worlds import World

AN_HOUR = 3600.0
SAID_NO, BROKEN_WORLD = 1, 3


@dataclass(frozen=True)
class Strike:
    """One moment: before the write or at the call of a number, or at a moment inside a push."""

    mode: str
    at: int = 0
    where: str = ""
    seconds: float = 0.0

    @property
    def is_on_write(self) -> bool:
        return self.mode in WRITES

    @property
    def is_survived(self) -> bool:
        """Say whether the subject may live on: Dagster ends its work in order when it is asked to."""
        return self.mode in ("fail", "fail_after", "term")

    def __str__(self) -> str:
        return f"{self.mode} {self.at or ''} {self.where}".strip()


CALLS = ("before", "during", "after", "orphan", "term", "fail", "fail_after")
WRITES = ("write", "torn")
PUSHES = ("push", "push-orphan", "push-hang")
MOMENTS = (
    "pre-receive",
    "update refs/heads/main",
    "reference-transaction prepared",
    "reference-transaction committed",
    "post-receive",
)


@dataclass
class Tally:
    """What was tried in a case, by the mode of the strike, and which promises were broken."""

    case: str
    tried: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[Strike, str]] = field(default_factory=list)

    def broken(self, mode: str) -> int:
        return len({strike for strike, _ in self.violations if strike.mode == mode})


def sweep(
    case: Case,
    root: Path,
    nursery: Nursery,
    *,
    measured: bool = True,
    choose: Callable[[Sequence[Strike]], Sequence[Strike]] = lambda strikes: strikes,
    on_strike: Callable[[int, int, Strike, Sequence[str]], None] = lambda *_: None,
) -> Tally:
    """Strike at the moments of a case that `choose` takes; `on_strike` hears of each.

    What is not `measured` is struck at its begin where it is to be struck half-way.
    """
    tally = Tally(case.name)
    with worlds.kept(root, case.past, nursery) as kept:

        @contextmanager
        def begun() -> Iterator[tuple[World, Wrong]]:
            world = kept()
            if case.settings:
                world.configure(**dict(case.settings))
            with case.around(world) as wrong:
                yield world, wrong

        with begun() as (world, _):
            world.arm("all" if measured else 0, "measure")
            chosen = choose(list(strikes(case, world)))
        with begun() as (world, wrong):
            before, expected = _undisturbed(case, world)
            assert not list(wrong())
        for number, strike in enumerate(chosen, 1):
            with begun() as (world, wrong):
                found = [*_broken_by(strike, case, world, before, expected), *wrong()]
            tally.tried[strike.mode] += 1
            tally.missed[strike.mode] += not world.is_struck
            tally.violations += [(strike, what) for what in found]
            on_strike(number, len(chosen), strike, found)
    return tally


def sample(strikes: Sequence[Strike], count: int) -> Sequence[Strike]:
    """Return so many strikes at most, spread by chance and the same each time."""
    chance = random.Random(0)
    chosen = sorted(chance.sample(range(len(strikes)), min(count, len(strikes))))
    return [strikes[number] for number in chosen]


def strikes(case: Case, world: World) -> Iterator[Strike]:
    """Yield all the moments of a case, found by doing it once."""
    ended = world.act(case.act)
    assert ended.code == 0, ended.said
    for at, call in enumerate(world.calls(), 1):
        for mode in CALLS if call.startswith(case.program) else ():
            yield Strike(mode, at, call, world.seconds(at) / 2)
    if case.program:
        return
    for at, write in enumerate((world.shims / "writes").read_text().splitlines(), 1):
        for mode in WRITES if write.startswith("open") else WRITES[:1]:
            yield Strike(mode, at, write)
    for mode in PUSHES if case.target else ():
        for moment in MOMENTS:
            yield Strike(mode, where=moment)


def _undisturbed(case: Case, world: World) -> tuple[Facts, Facts]:
    before = promises.look(world)
    ended = world.act(case.act)
    assert ended.code == 0, ended.said
    moved = promises.look(world)
    does_something = moved.targets != before.targets or moved.platform or case.program
    assert does_something, "the act does nothing"
    then = world.act(case.then)
    expected = promises.look(world, then)
    assert moved.targets == expected.targets or case.by_dagster, "the second attempt does something"
    assert not [*promises.not_told(then, codes=_codes(case)), *promises.left_behind(world)]
    return before, expected


def _broken_by(
    strike: Strike, case: Case, world: World, before: Facts, expected: Facts
) -> Iterator[str]:
    ended = _struck(strike, case, world)
    if world.is_struck and not strike.is_survived and ended.code != -signal.SIGKILL:
        yield f"the sweep itself: the subject was struck and ended with {ended.code}"
    yield from promises.broken_at_once(before, world)
    if ended.code is None or (ended.code >= 0 and not case.by_dagster):
        yield from promises.not_told(ended, codes=(0, SAID_NO, BROKEN_WORLD))
    if case.by_dagster:
        _pass_an_hour(world)
    if strike.mode == "push":
        _mend_server(case, world)
    _pass_a_minute(world)
    world.arm(0, "none")
    then = world.act(case.then)
    yield from (f"the next attempt: {what}" for what in promises.not_told(then, codes=_codes(case)))
    yield from promises.left_behind(world)
    yield from promises.broken(before, promises.look(world, then), expected, is_same=case.is_same)


def _struck(strike: Strike, case: Case, world: World) -> Ended:
    if strike.is_on_write:
        return world.act(case.act, at=strike.at, torn=strike.mode == "torn")
    if strike.mode in PUSHES:
        worlds.arm_hooks(world, case.target, strike.mode, strike.where)
    else:
        world.arm(strike.at, strike.mode, strike.seconds)
    return world.act(case.act)


def _mend_server(case: Case, world: World) -> None:
    """Remove the locks of a server that was killed: only its owner may, whoever pushes is told so."""
    for lock in world.workspace(case.target).bare.rglob("*.lock"):
        lock.unlink()


def _codes(case: Case) -> tuple[int, ...]:
    # Who rolls back what is rolled back already is told so.
    return (0,) if case.is_same or case.by_dagster else (0, SAID_NO)


def _pass_a_minute(world: World) -> None:
    """Let a pack whose writer is gone be older than one that somebody writes may become."""
    for draft in (world.root / "cache").glob("*.git/objects/pack/*tmp*"):
        os.utime(draft, (0, 0))


def _pass_an_hour(world: World) -> None:
    """Let a run whose worker is gone be older than any of ours may become."""
    with sqlite3.connect(world.root / "dagster" / "history" / "runs.db") as database:
        database.execute(
            "UPDATE runs SET start_time = start_time - ?,"
            " update_timestamp = datetime(update_timestamp, '-1 hour'),"
            " create_timestamp = datetime(create_timestamp, '-1 hour')"
            " WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')",
            (AN_HOUR,),
        )
    database.close()
