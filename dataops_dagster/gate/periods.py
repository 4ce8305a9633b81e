"""Windows and freezes: may anything land at this hour? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from dataops_dagster.model import State, Verdict
from dataops_dagster.settings import Period
from dataops_dagster.text import moment

Stretch = tuple[datetime, datetime]
"""From when, and until when: the first moment after it."""

_WHO = "whoever may change the configuration, or override with a reason"
_DAY = timedelta(days=1)
_STRETCHES = 1000
"""How many freezes in a row are followed to their end."""


def stretch_at(period: Period, now: datetime) -> Stretch | None:
    """Return the stretch of the period that holds `now`; of several the last."""
    if period.begin and period.end:
        begin, end = period.at(period.begin), period.at(period.end)
        return (begin, end) if begin <= now < end else None
    assert period.lasts
    # Of all that hold `now`, the one that begins last ends last.
    last = _fires(period, now, reverse=True)
    return (last, last + period.lasts) if last and now < last + period.lasts else None


def next_begin(period: Period, now: datetime) -> datetime | None:
    """Return when the period next begins after `now`; None when it never does."""
    if period.begin:
        begin = period.at(period.begin)
        return begin if begin > now else None
    return _fires(period, now)


def windows_verdict(windows: Sequence[Period], now: datetime) -> Verdict:
    """Say whether `now` lies in one of the windows; that there are none passes."""
    for window in windows:
        if stretch := stretch_at(window, now):
            return Verdict("window", State.PASSED, f"is open until {moment(stretch[1])}", _WHO)
    if not windows:
        return Verdict("window", State.PASSED, "is always open", _WHO)
    begins = [begin for window in windows if (begin := next_begin(window, now))]
    if not begins:
        return Verdict("window", State.FAILED, "the last window is over", _WHO)
    opens = min(begins)
    return Verdict("window", State.PENDING, f"opens at {moment(opens)}", _WHO, opens)


def freezes_verdict(freezes: Sequence[Period], now: datetime) -> Verdict:
    """Say whether a freeze holds everything up now."""
    over, reasons = now, list[str]()
    for _ in range(_STRETCHES):
        stretches = [(f, s) for f in freezes if (s := stretch_at(f, over))]
        if not stretches:
            break
        # One freeze may begin before another is over.
        over = max(end for _, (_, end) in stretches)
        reasons += [f.reason for f, _ in stretches if f.reason and f.reason not in reasons]
    else:
        return Verdict("freeze", State.FAILED, f"never ends{_because(reasons)}", _WHO)
    if over == now:
        return Verdict("freeze", State.PASSED, "nothing is frozen", _WHO)
    reason = f"lasts until {moment(over)}{_because(reasons)}"
    return Verdict("freeze", State.PENDING, reason, _WHO, over)


def _because(reasons: Sequence[str]) -> str:
    return f" ({'; '.join(reasons)})" if reasons else ""


def _fires(period: Period, now: datetime, *, reverse: bool = False) -> datetime | None:
    """Return when cron next says so after `now`, or last did until then."""
    # cronsim begins at what a clock on the wall shows; put back, it shows that twice.
    start = (now + _DAY if reverse else now).astimezone(ZoneInfo(period.time_zone))
    try:
        fires = CronSim(period.cron or "", start, reverse)
        found = next(fire for fire in fires if (fire <= now) is reverse)
    except (StopIteration, CronSimError):
        return None
    return found.astimezone(timezone.utc)
