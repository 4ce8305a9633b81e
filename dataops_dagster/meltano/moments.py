"""Writes a moment the way Meltano hands it to a plug-in; looks at no clock. Pure.

Words such as `yesterday`, and dates with names of months, stay: what they mean needs a clock or a
language.
"""

from __future__ import annotations

import re
from datetime import datetime

_KEPT = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([ T]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?)?(Z|[+-](0\d|1[0-2]):(00|30))?$",
    re.ASCII,
)
_LOOSE = re.compile(
    r"\s*(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})"
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<part>\d{1,6}))?)?)?"
    r"\s?(?:(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d))?\s*$",
    re.ASCII | re.IGNORECASE,
)


_PARTS = ("year", "month", "day", "hour", "minute", "second")
_EAST = "03:30 04:30 05:30 05:45 06:30 08:45 09:30 10:30 11:30 12:45 13:00 14:00"
_WEST = "02:30 03:30 04:30 09:30"
_OFFSETS = frozenset(
    [f"{sign}{hour:02}:00" for sign in "+-" for hour in range(13)]
    + [f"+{offset}" for offset in _EAST.split()]
    + [f"-{offset}" for offset in _WEST.split()]
)
"""Those that Meltano's reader of dates knows; it leaves a moment with another as it is."""


def moment(text: str) -> str:
    """Return a moment in ISO 8601 if it is one in digits, year first; any other text as it is."""
    found = _LOOSE.match(text)
    if _KEPT.match(text) or found is None:
        return text
    year, month, day, hour, minute, second = (int(found[key] or 0) for key in _PARTS)
    if month > 12:  # noqa: PLR2004  # of a year
        month, day = day, month
    written = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    try:
        return datetime.fromisoformat(written + _fraction(found) + _zone(found)).isoformat()
    except ValueError:
        return text


def _fraction(found: re.Match[str]) -> str:
    return f".{found['part'].ljust(6, '0')}" if found["part"] else ""


def _zone(found: re.Match[str]) -> str:
    if not found["sign"]:
        return "+00:00" if found["utc"] else ""
    offset = f"{found['sign']}{found['hours']}:{found['minutes']}"
    if offset not in _OFFSETS:
        raise ValueError(offset)
    return offset
