"""What all settings are made of: the strict base class, durations, names, text.

Knows no setting. Nothing here does I/O.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    WithJsonSchema,
)

_DURATION = re.compile(r"([1-9][0-9]*)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=36_500)  # added to any moment of ours it stays within the calendar


def duration(value: Any) -> timedelta:
    """Read a duration, such as 30m; raises `ValueError`."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration as a whole number and s, m, h or d, such as 30m")
    try:
        found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except (OverflowError, ValueError):
        found = timedelta.max
    if found > _LONGEST:
        raise ValueError("is longer than anybody waits")
    return found


Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9][0-9]*\s*(s|m|h|d)$"}),
]

Size = Annotated[ByteSize, Field(ge=1, examples=["100GB"])]

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*$"
"""A name of a project or workspace: becomes part of asset keys, op names and git refs."""

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=30)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Argument = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]

CRON_FIELDS = 5  # cronsim also takes six, with seconds first, which Dagster does not


def fields_of_cron(value: str) -> int:
    """Return how many fields a cron schedule has; none if it is no such schedule, or never comes."""
    try:
        next(CronSim(value, datetime.now(timezone.utc)))
    except (CronSimError, StopIteration):  # StopIteration: it never comes, as on 30 February
        return 0
    return len(value.split())


# An environment name reaches a command line and a run tag; it never looks like an option.
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=60)]

# Owners and tags as Dagster takes them; what it would refuse is told here, with file and line.
_OWNER = re.compile(r"team:[^\x00-\x1f\x7f]+|\w[\w.%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}", re.ASCII)
_TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value):
        raise ValueError("is neither an e-mail address nor team:NAME")
    return value


def _tags(value: dict[str, str]) -> dict[str, str]:
    if any(key.startswith("dagster/") for key in value):
        raise ValueError("has a key that begins with dagster/, which is Dagster's own")
    if not all(map(_TAG_KEY.fullmatch, value)) or not all(
        map(_TAG_VALUE.fullmatch, value.values())
    ):
        raise ValueError(
            "keys and values have letters, digits, '_', '-' and '.', at most 63 of them;"
            " a key may stand behind NAMESPACE/"
        )
    return value


Owner = Annotated[str, AfterValidator(_owner), Field(examples=["team:platform", "ada@example.com"])]
Tags = Annotated[dict[str, str], AfterValidator(_tags), Field(examples=[{"tier": "gold"}])]

_ASSET_KEY = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"

AssetKey = Annotated[str, Field(pattern=_ASSET_KEY, max_length=200, examples=["warehouse/orders"])]


class Settings(BaseModel):
    """Base of everything configured: strict, frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
