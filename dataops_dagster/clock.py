"""The one door to the clock."""

from __future__ import annotations

from datetime import datetime, timezone

from dataops_dagster.errors import ConfigError
from dataops_dagster.settings_base import duration


def now() -> datetime:
    """Return this moment, in UTC."""
    return datetime.now(timezone.utc)


def later(text: str) -> datetime:
    """Return the moment that `7d` from now, or an ISO 8601 time, is; raises `ConfigError`."""
    try:
        return now() + duration(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError.at(
            "expires", "is no time", "write 7d, or a time such as 2026-12-24T18:00+01:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
