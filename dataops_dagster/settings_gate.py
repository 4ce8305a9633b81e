"""What a user configures about a gate: its conditions, windows, freezes and approvals.

Nothing here does I/O.
"""

from __future__ import annotations

from datetime import date, datetime, time, timezone
from enum import Enum
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from typing_extensions import Self

from dataops_dagster.settings_base import (
    CRON_FIELDS,
    Duration,
    EnvironmentName,
    Settings,
    Text,
    fields_of_cron,
)

JobName = Annotated[
    str, Field(pattern=r"^([^:\x00-\x1f\x7f]+:)?[A-Za-z0-9_]+$", examples=["staging_elt"])
]
Predicate = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", examples=["shop.policy:may_land"]
    ),
]


def _cron(value: str) -> str:
    if fields_of_cron(value) != CRON_FIELDS:
        raise ValueError('is no five-field cron schedule, such as "0 9 * * 1-5"')
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone, such as Europe/Zurich") from None
    return value


_YEARS = range(1970, 3000)


def _moment(value: Any) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("write a date or a time, such as 2026-12-24 or 2026-12-24 18:00") from None
    if found.year not in _YEARS:
        raise ValueError(f"write a year from {_YEARS[0]} to {_YEARS[-1]}")
    return found


Cron = Annotated[str, AfterValidator(_cron), Field(examples=["0 9 * * 1-5"])]
TimeZone = Annotated[str, AfterValidator(_time_zone), Field(examples=["Europe/Zurich"])]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-12-24", "2026-12-24 18:00"]}),
]


class Period(Settings):
    """A stretch of time: once (`from`, `to`) or again and again (`cron`, `lasts`)."""

    begin: Moment | None = Field(default=None, alias="from", description="when it begins")
    end: Moment | None = Field(default=None, alias="to", description="when it is over")
    cron: Cron | None = Field(default=None, description="when it begins, again and again")
    lasts: Duration | None = Field(default=None, description="how long, each time cron says so")
    time_zone: TimeZone = Field(
        default="UTC", description="where cron, and moments that name no offset, are read"
    )
    reason: Text | None = Field(default=None, description="why; shown to whoever is held up")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        once, again = (self.begin, self.end), (self.cron, self.lasts)
        if not ((all(once) and again == (None, None)) or (all(again) and once == (None, None))):
            raise ValueError("say from and to, or cron and lasts")
        if self.begin and self.end and self.at(self.begin) >= self.at(self.end):
            raise ValueError("is over before it begins")
        return self

    def at(self, moment: datetime) -> datetime:
        """Return a moment in UTC, where alone moments compare: a clock is put forth and back."""
        zone = moment.tzinfo or ZoneInfo(self.time_zone)
        return moment.replace(tzinfo=zone).astimezone(timezone.utc)


class Approvals(Settings):
    """People's yes to the exact plan."""

    quorum: int = Field(default=1, ge=1, le=20, description="how many different people are needed")
    expires: Duration = Field(
        default="7d", validate_default=True, description="how long an approval counts"
    )
    exclude_authors: bool = Field(
        default=True, description="who wrote one of the commits does not count"
    )
    allowed_signers: Text | None = Field(
        default=None,
        description="count only tags signed by a key in this file of ssh's; beside dataops.yaml",
    )


class LintLevel(str, Enum):
    """From which findings on the gate is closed."""

    ERROR = "error"
    WARNING = "warning"


class Lint(Settings):
    """What must be well formed in what lands."""

    level: LintLevel = Field(
        default=LintLevel.ERROR,
        strict=False,
        description="error: what would break closes the gate, what is suspicious is told; warning:"
        " that closes it, too",
    )

    ignore: tuple[Text, ...] = Field(
        default=(), strict=False, description="rules that do not count, by their ids"
    )


class TreeRule(str, Enum):
    """How equal what lands must be to what a run proved, from the strictest to the most lenient."""

    SAME = "same"
    EXPLAINED = "explained"
    RETEST = "retest"
    ANY = "any"


class FanIn(str, Enum):
    """In how many of several upstreams a run must have succeeded."""

    ALL = "all"
    ANY = "any"


def not_empty(value: Any) -> Any:
    """Refuse a key with nothing after it; raises `ValueError`."""
    # Commented out line by line, a gate would otherwise stand open in silence.
    if value is None:
        raise ValueError("is empty: write {} for its defaults, or remove the key")
    return value


class Gate(Settings):
    """What must hold before a promotion may land."""

    environment: EnvironmentName | None = Field(
        default=None,
        description="where a run of the upstream must have succeeded; its own, when not given",
    )
    runs: int = Field(
        default=1, ge=0, le=10, description="how many runs must have succeeded; 0 asks for none"
    )
    max_age: Duration | None = Field(
        default=None, description="a run that is older than this proves nothing any more"
    )
    jobs: tuple[JobName, ...] = Field(
        default=(),
        strict=False,
        description="Dagster jobs of your own whose runs on the deployed upstream count as its runs:"
        " JOB, or LOCATION:JOB",
    )
    tested_tree: TreeRule = Field(
        default=TreeRule.EXPLAINED,
        strict=False,
        description="what may differ from what was run. same: nothing; explained: what the target"
        " keeps; retest: anything, once the merge itself was run; any: anything, only named",
    )
    upstreams: FanIn = Field(
        default=FanIn.ALL,
        strict=False,
        description="of several upstreams, whether all or any must have proved what lands",
    )
    soak: Duration | None = Field(
        default=None, description="how long ago the first of the successes must be"
    )
    windows: tuple[Period, ...] = Field(
        default=(), strict=False, description="promotions land within these periods only"
    )
    freezes: tuple[Period, ...] = Field(
        default=(), strict=False, description="no promotion lands within these periods"
    )
    approvals: Annotated[Approvals | None, BeforeValidator(not_empty)] = Field(
        default=None, description="people's yes to the exact plan"
    )
    lint: Annotated[Lint | None, BeforeValidator(not_empty)] = Field(
        default=None, description="what lands must have no conflict markers and well-formed YAML"
    )
    predicate: Predicate | None = Field(
        default=None,
        description="a function of your own, as module:function; see docs/gate.md",
    )
