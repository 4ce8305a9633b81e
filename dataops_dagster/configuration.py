"""What a promotion changes in a data project's configuration, as frozen values and as rows.

Values are already as people may see them: short, inert, and without secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dataops_dagster.text import moment


@dataclass(frozen=True)
class SettingChange:
    """A setting whose value changes in an environment; empty where it is not set.

    `layer` is where the new value comes from, or the old one did if there is none.
    """

    environment: str
    plugin: str
    setting: str
    old: str
    new: str
    layer: str


@dataclass(frozen=True)
class PartChange:
    """A plug-in, job or environment that comes, goes or changes; empty where it is not there."""

    kind: str
    name: str
    old: str
    new: str


@dataclass(frozen=True)
class TimerChange:
    """A schedule or pipeline that starts, stops, moves or runs something else.

    `first` is when it runs next, had the promotion landed at the time of the plan.
    """

    kind: str
    name: str
    what: str
    old: str
    new: str
    runs: str
    first: datetime | None = None


@dataclass(frozen=True)
class StateChange:
    """What makes loads begin anew, or go on with a state that no longer fits; `why` says which."""

    subject: str
    setting: str
    old: str
    new: str
    why: str


@dataclass(frozen=True)
class Changes:
    """What a promotion changes for a target's `environment`; `elsewhere` for other environments only.

    `problems` say what could not be read, and is therefore not compared.
    """

    environment: str
    settings: tuple[SettingChange, ...] = ()
    elsewhere: tuple[SettingChange, ...] = ()
    parts: tuple[PartChange, ...] = ()
    timers: tuple[TimerChange, ...] = ()
    state: tuple[StateChange, ...] = ()
    problems: tuple[str, ...] = ()


Table: TypeAlias = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A title, a header and rows."""


def tables(changes: Changes | None) -> Iterator[Table]:
    """Yield what changes as tables; those without a row are left out."""
    if changes is None:
        return
    settings = ("plug-in", "setting", "old", "new", "layer")
    found: list[Table] = [
        (
            f"configuration in {changes.environment}",
            settings,
            [(c.plugin, c.setting, c.old, c.new, c.layer) for c in changes.settings],
        ),
        (
            "affects the state of loads",
            ("of", "setting", "old", "new", "why"),
            [(c.subject, c.setting, c.old, c.new, c.why) for c in changes.state],
        ),
        (
            "plug-ins, jobs and environments",
            ("", "name", "old", "new"),
            [(c.kind, c.name, c.old, c.new) for c in changes.parts],
        ),
        (
            "runs by itself",
            ("", "name", "what", "old", "new", "runs", "first"),
            [
                (c.kind, c.name, c.what, c.old, c.new, c.runs, moment(c.first) if c.first else "")
                for c in changes.timers
            ],
        ),
        (
            "configuration in other environments",
            ("environment", *settings),
            [
                (c.environment, c.plugin, c.setting, c.old, c.new, c.layer)
                for c in changes.elsewhere
            ],
        ),
        ("could not be read", ("what",), [(problem,) for problem in changes.problems]),
    ]
    yield from (table for table in found if table[2])
