"""Windows and freezes: may anything land at this hour? Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from zoneinfo import ZoneInfo

from cronsim import CronSim

from dataops_dagster.model import State, Verdict
from dataops_dagster.settings_gate import Period
from dataops_dagster.text import moment

Stretch = tuple[datetime, datetime]
"""From when, and until when: the first moment after it."""

_WHO = "whoever may change the configuration, or override with a reason"
_DAY, _YEAR = timedelta(days=1), timedelta(days=366)
_NEVER = datetime(9990, 1, 1, tzinfo=timezone.utc)
"""What lasts until then lasts for ever; and from then on a calendar of four digits runs out."""


def stretch_at(period: Period, now: datetime) -> Stretch | None:
    """Return the stretch of the period that holds `now`; of several the last."""
    if period.begin and period.end:
        begin, end = period.at(period.begin), period.at(period.end)
        return (begin, end) if begin <= now < end else None
    assert period.lasts
    # Of all that hold `now`, the one that begins last ends last.
    last = next(_fires(period, now, reverse=True), None)
    return (last, last + period.lasts) if last and now < last + period.lasts else None


def next_begin(period: Period, now: datetime) -> datetime | None:
    """Return when the period next begins after `now`; None when it never does."""
    if period.begin:
        begin = period.at(period.begin)
        return begin if begin > now else None
    return next(_fires(period, now), None)


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
    over, before, reasons = now, None, dict[str, None]()
    while over != before and over < _NEVER:
        before = over
        # One freeze may begin before another is over.
        for freeze, end in itertools.chain(_dated(freezes, before), _follow_on(freezes, before)):
            over = max(over, end)
            reasons |= {freeze.reason: None} if freeze.reason else {}
    if over == now:
        return Verdict("freeze", State.PASSED, "nothing is frozen", _WHO)
    why = f" ({'; '.join(reasons)})" if reasons else ""
    if over >= _NEVER:
        return Verdict("freeze", State.FAILED, f"never ends{why}", _WHO)
    return Verdict("freeze", State.PENDING, f"lasts until {moment(over)}{why}", _WHO, over)


def _dated(freezes: Sequence[Period], now: datetime) -> Iterator[tuple[Period, datetime]]:
    """Yield the freezes between two dates that hold `now`, and when they are over."""
    for freeze in freezes:
        if freeze.begin and (stretch := stretch_at(freeze, now)):
            yield freeze, stretch[1]


def _follow_on(freezes: Sequence[Period], now: datetime) -> Iterator[tuple[Period, datetime]]:
    """Yield the recurring freezes that hold `now`, and all that follow on; each is over later."""
    over = now
    recurring = [_begins(freeze, now) for freeze in freezes if freeze.lasts]
    for begin, freeze in heapq.merge(*recurring, key=itemgetter(0)):
        if begin > over:
            return
        if begin > now + _YEAR:
            yield freeze, _NEVER  # cron knows no years: what lasts for one lasts for all
            return
        assert freeze.lasts
        end = begin + freeze.lasts
        if begin <= now or end > over:
            over = max(over, end)
            yield freeze, end


def _begins(freeze: Period, now: datetime) -> Iterator[tuple[datetime, Period]]:
    if stretch := stretch_at(freeze, now):
        yield stretch[0], freeze
    for begin in _fires(freeze, now):
        yield begin, freeze


def _fires(period: Period, now: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """Yield when cron says so: after `now`, or until then and the last first."""
    # cronsim begins at what a clock on the wall shows; put back, it shows that twice.
    start = (now + _DAY if reverse else now).astimezone(ZoneInfo(period.time_zone))
    for fire in CronSim(period.cron or "", start, reverse):
        if (fire <= now) is reverse:
            yield fire.astimezone(timezone.utc)
