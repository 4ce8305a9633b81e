"""The acts that the sweep strikes at, each in a world with a past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tests.sweep import worlds
from tests.sweep.worlds import Past, World

Wrong: TypeAlias = Callable[[], Iterator[str]]
"""Tells what is wrong outside of git and Dagster."""


@contextmanager
def _nothing(_world: World) -> Iterator[Wrong]:
    yield lambda: iter(())


@dataclass(frozen=True)
class Case:
    """An act that begins in a world with a past. `settings` are what happens by itself then.

    Who tries next does the act `then`. A rollback has another date each time: it is not `is_same`.
    Into the repository of `target` is pushed. With `program` only its calls are struck at. What is
    `around` an attempt tells afterwards what is wrong there.
    """

    name: str
    past: Past
    act: str
    then: str
    settings: tuple[tuple[str, str], ...] = ()
    is_same: bool = True
    target: str = ""
    program: str = ""
    around: Callable[[World], AbstractContextManager[Wrong]] = _nothing

    @property
    def by_dagster(self) -> bool:
        return self.act == "tick"


CASES = (
    Case("promote, first", worlds.first, "promote staging", "promote staging", target="staging"),
    Case("promote, gated", worlds.proven, "promote prod", "promote prod", target="prod"),
    Case(
        *("roll back", worlds.two_releases, "roll back", "roll back"),
        is_same=False,
        target="prod",
    ),
    Case("run by Dagster", worlds.in_staging, "tick", "settle"),
    Case(
        *("promote by Dagster", worlds.proven, "tick", "settle"),
        settings=(("promote", "change"),),
        target="prod",
    ),
    Case("deploy by Dagster", worlds.released, "tick", "settle"),
    Case(
        *("roll back by Dagster", worlds.undeployable, "tick", "settle"),
        is_same=False,
        target="prod",
    ),
)
