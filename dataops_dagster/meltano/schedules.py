"""When a project's schedules and pipelines run by the clock, and when they do next. Pure; in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from cronsim import CronSim, CronSimError

from dataops_dagster.meltano.model import Place, Schedule, Unreadable

FOLDER = "pipelines/"
"""Where a Matatika project has its pipelines."""

_WORDS: Mapping[str, str | None] = {
    "@once": None,
    "@manual": None,
    "@none": None,
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Words that may stand for an interval; None runs by hand only."""

_ONCE = datetime(2024, 1, 1, tzinfo=timezone.utc)
_FIELDS, _FIELDS_WITH_SECONDS = 5, 6
_LONGEST = 200
_TO_SUNDAY = re.compile(r"(?i)-sun\b")
"""The end of a week, which Sunday is the begin of to our reader of schedules."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline file: what it runs, when, after what, and the settings that it sets at run time."""

    name: str
    place: Place
    runs: str
    schedule: str | None = None
    triggered_by: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[tuple[str, str], Any]:
        """The properties by plug-in and setting: `tap-x.start` sets start of tap-x."""
        parts = {name: str(name).partition(".") for name in self.properties}
        return {(parts[name][0], parts[name][2]): value for name, value in self.properties.items()}


@dataclass(frozen=True)
class Timer:
    """What runs by itself: `cron` is a schedule in `fields` fields, or None; `after` is what sets it off."""

    kind: str
    name: str
    place: Place
    runs: str
    cron: str | None
    fields: int
    after: tuple[str, ...] = ()

    @property
    def when(self) -> str:
        """Say in words when it runs; empty if only by hand."""
        told = [self.cron] if self.cron else []
        return ", ".join([*told, *(f"after {name}" for name in self.after)])

    @property
    def is_valid(self) -> bool:
        """Whether the clock ever sets it off, if it is to."""
        return self.cron is None or self.first(_ONCE) is not None

    def first(self, now: datetime) -> datetime | None:
        """Return when the clock sets it off next; None if it never does."""
        return next_time(self.cron, now, fields=self.fields) if self.cron else None


def pipeline(path: str, data: Any) -> Pipeline | Unreadable:
    """Read what a pipeline's file holds."""
    place = Place(path, 1)
    if not isinstance(data, dict):
        return Unreadable(place, "is no mapping, as a pipeline is")
    named, actions = data.get("triggered_by"), data.get("actions")
    properties = data.get("properties")
    script = data.get("script") or data.get("inline_script")
    runs = "a script" if script else ", ".join(map(str, _listed(actions)))
    return Pipeline(
        name=path.removeprefix(FOLDER).rpartition(".")[0],
        place=place,
        runs=runs,
        schedule=str(data["schedule"]) if data.get("schedule") else None,
        triggered_by=tuple(map(str, _listed(named))),
        properties=properties if isinstance(properties, dict) else {},
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def timers(
    schedules: Iterable[Schedule], pipelines: Iterable[Pipeline]
) -> dict[tuple[str, str], Timer]:
    """Return what may run by itself, by kind and name; of two of one name the first counts."""
    found: dict[tuple[str, str], Timer] = {}
    for each in schedules:
        runs, cron = " ".join(each.runs), _WORDS.get(each.interval or "", each.interval)
        timer = Timer("schedule", each.name, each.place, runs, cron, _FIELDS)
        found.setdefault((timer.kind, timer.name), timer)
    for made in pipelines:
        timer = Timer(
            "pipeline",
            made.name,
            made.place,
            made.runs,
            made.schedule,
            _FIELDS_WITH_SECONDS,
            made.triggered_by,
        )
        found.setdefault((timer.kind, timer.name), timer)
    return found


def next_time(cron: str, now: datetime, *, fields: int) -> datetime | None:
    """Return the next moment after `now` that a cron schedule names.

    None if it names none, or has not as many fields; the sixth field is the first, the seconds.
    """
    cron = _TO_SUNDAY.sub("-7", cron.replace("?", "*"))
    if len(cron) > _LONGEST or len(cron.split()) != fields:
        return None
    try:
        return next(CronSim(cron, now))
    except (CronSimError, StopIteration, ValueError, OverflowError):
        return None
