"""Windows and freezes begin and end when the clocks where they are read say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster.gate.periods import (
    freezes_verdict,
    next_begin,
    stretch_at,
    windows_verdict,
)
from dataops_dagster.model import State, Verdict
from dataops_dagster.settings_gate import Period
from tests.conftest import NOW
from tests.facts import INSTANT

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def once(begin: str, end: str, zone: str = "UTC", **more) -> Period:
    return Period(**{"from": begin, "to": end, "time_zone": zone, **more})


def again(cron: str, lasts: str, zone: str = "UTC", **more) -> Period:
    return Period(cron=cron, lasts=lasts, time_zone=zone, **more)


# --- any period, against a slow reference -----------------------------------------------------
#
# The reference looks at a clock on the wall, minute by minute. What cron says at a fixed time happens
# once a day, as in Debian: at once if the clock skips that time, and the first time if it shows it
# twice. A schedule with a star among its minutes or hours follows the clock.


@dataclass(frozen=True)
class Place:
    """A zone, and a moment in it around which something happens to the clocks, or to the calendar."""

    zone: str
    at: str

    @property
    def middle(self) -> datetime:
        return utc(self.at)


PLACES = [
    Place("UTC", "2027-01-01T00:00"),  # a year ends
    Place("UTC", "2028-02-29T12:00"),  # a leap day
    Place("Europe/Zurich", "2026-03-29T01:00"),  # put forward
    Place("Europe/Zurich", "2026-10-25T01:00"),  # put back
    Place("America/New_York", "2026-03-08T07:00"),
    Place("America/New_York", "2026-11-01T06:00"),
    Place("Antarctica/Troll", "2026-03-29T01:00"),  # by two hours
    Place("Antarctica/Troll", "2026-10-25T01:00"),
    Place("Asia/Kolkata", "2026-12-31T18:30"),  # at half an hour
]
REACH = timedelta(hours=36)
CRONS = st.builds(
    " ".join,
    st.tuples(
        st.sampled_from(["0", "30", "59", "15,45", "*/20", "*"]),
        st.sampled_from(["0", "2", "23", "1-3", "9-17", "*/2", "*"]),
        st.sampled_from(["*", "1", "29,31", "*/2"]),
        st.sampled_from(["*", "2,12", "1-11"]),
        st.sampled_from(["*", "1-5", "0", "7", "*/3"]),
    ),
)
LASTS = st.sampled_from([1, 10, 20, 60, 150, 1440]).map(lambda minutes: f"{minutes}m")


def numbers(text: str, last: int) -> set[int]:
    found = set[int]()
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, _, high = ("0", "-", str(last)) if span == "*" else span.partition("-")
        found |= set(range(int(low), int(high or low) + 1)[:: int(step or 1)])
    return found


@lru_cache
def fires(cron: str, place: Place) -> tuple[datetime, ...]:
    """Return when cron says so in the days around a place's moment."""
    fields = cron.split()
    minutes, hours, days, months, weekdays = (
        # Days and months count from 1, and so do their steps.
        {n + (field.startswith("*") and last in (30, 11)) for n in numbers(field, last)}
        for field, last in zip(fields, (59, 23, 30, 11, 7), strict=True)
    )

    def says(wall: datetime) -> bool:
        dates = wall.day in days, {wall.isoweekday(), wall.isoweekday() % 7} & weekdays
        both = "*" in (fields[2][0], fields[4][0])
        return bool(
            (wall.minute in minutes and wall.hour in hours and wall.month in months)
            and (all(dates) if both else any(dates))
        )

    fixed, zone = "*" not in (fields[0][0], fields[1][0]), ZoneInfo(place.zone)
    found, now = [], place.middle - 2 * REACH
    expected = now.astimezone(zone).replace(tzinfo=None)
    while now < place.middle + REACH:
        shown = now.astimezone(zone)
        wall = shown.replace(tzinfo=None)
        fire = says(wall) and not (fixed and shown.fold)
        while fixed and expected < wall:
            fire = fire or says(expected)
            expected += MINUTE
        if fire:
            found.append(now)
        now, expected = now + MINUTE, wall + MINUTE
    return tuple(found)


def stretches(period: Period, place: Place) -> list[tuple[datetime, datetime]]:
    if period.begin:
        return [(period.at(period.begin), period.at(period.end))]
    return [(fire, fire + period.lasts) for fire in fires(period.cron, place)]


def covering(periods, place: Place, now: datetime):
    return [
        (begin, end)
        for period in periods
        for begin, end in stretches(period, place)
        if begin <= now < end
    ]


@st.composite
def situations(draw, count=1):
    """Draw a place, some periods that are read there, and a moment close to what happens there."""
    place = draw(st.sampled_from(PLACES))

    def a_moment() -> datetime:
        return place.middle + draw(st.integers(-600, 600)) * MINUTE

    def a_period() -> Period:
        if draw(st.booleans()):
            return again(draw(CRONS), draw(LASTS), place.zone)
        begin = a_moment()
        return once(begin.isoformat(), (begin + draw(st.integers(1, 900)) * MINUTE).isoformat())

    periods = [a_period() for _ in range(draw(st.integers(min(count, 1), count)))]
    seconds = draw(st.sampled_from([0, 0, 1, 59, 59.999999]))
    return place, periods, a_moment() + timedelta(seconds=seconds)


@given(situation=situations())
def test_a_moment_lies_in_the_stretch_that_began_last(situation):
    place, (period,), now = situation
    assert stretch_at(period, now) == max(covering([period], place, now), default=None)


@given(situation=situations())
def test_a_period_begins_next_when_the_reference_says_so(situation):
    place, (period,), now = situation
    coming = [begin for begin, _ in stretches(period, place) if begin > now]
    found = next_begin(period, now)
    if coming:
        assert found == coming[0]
    else:
        assert found is None or found >= place.middle + REACH


@given(situation=situations(count=3))
def test_windows_are_open_within_them_and_else_open_exactly_when_they_say(situation):
    place, windows, now = situation
    found = windows_verdict(windows, now)
    assert (found.state is State.PASSED) == bool(covering(windows, place, now))
    if found.earliest:
        assert found.earliest > now
        assert windows_verdict(windows, found.earliest - INSTANT).state is State.PENDING
        assert windows_verdict(windows, found.earliest).state is State.PASSED


@given(situation=situations(count=3))
def test_freezes_hold_within_them_and_let_go_exactly_when_they_say(situation):
    place, freezes, now = situation
    found = freezes_verdict(freezes, now)
    assert (found.state is State.PASSED) == (not covering(freezes, place, now))
    if found.earliest:
        assert found.earliest > now
        assert freezes_verdict(freezes, found.earliest - INSTANT).state is State.PENDING
        assert freezes_verdict(freezes, found.earliest).state is State.PASSED
        between = now
        while between < min(found.earliest, place.middle + REACH):
            assert covering(freezes, place, between)
            between += 7 * MINUTE


# --- windows ----------------------------------------------------------------------------------

OFFICE = again("0 9 * * 1-5", "8h", "Europe/Zurich")


def window(*windows: Period, now: str) -> Verdict:
    return windows_verdict(windows, utc(now))


def test_a_window_that_is_open_says_until_when():
    found = window(OFFICE, now="2026-11-23 10:00")
    assert (found.state, found.reason) == (State.PASSED, "is open until 2026-11-23 16:00 UTC")


def test_a_window_that_is_shut_says_when_it_opens_next_and_who_can_change_that():
    assert window(OFFICE, now="2026-11-20 16:00") == Verdict(
        "window",
        State.PENDING,
        "opens at 2026-11-23 08:00 UTC",
        who="whoever may change the configuration, or override with a reason",
        earliest=utc("2026-11-23 08:00"),
    )


def test_of_several_windows_the_next_counts():
    other = once("2026-11-21 12:00", "2026-11-21 13:00")
    assert window(OFFICE, other, now="2026-11-21 06:00").earliest == utc("2026-11-21 12:00")


def test_after_the_last_window_nothing_opens_any_more():
    past = once("2026-01-01", "2026-01-02")
    assert window(past, now="2026-01-02").state is State.FAILED
    assert window(past, now="2026-01-02").earliest is None


def test_without_windows_it_is_always_open():
    assert windows_verdict([], NOW).state is State.PASSED


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-03-27 08:00", "2026-03-27 08:00"),
        ("2026-03-28 08:00", "2026-03-30 07:00"),
        ("2026-10-23 16:00", "2026-10-26 08:00"),
    ],
)
def test_office_hours_stay_office_hours_when_the_clocks_change(now, opens):
    found = window(OFFICE, now=now)
    assert (found.earliest or utc(now)) == utc(opens)


def test_a_window_at_an_hour_that_the_clock_skips_opens_right_after_it():
    night = again("30 2 * * *", "1h", "Europe/Zurich")
    assert window(night, now="2026-03-29 00:59").earliest == utc("2026-03-29 01:00")


def test_a_window_at_an_hour_that_comes_twice_opens_once():
    night = again("30 2 * * *", "20m", "Europe/Zurich")
    assert window(night, now="2026-10-25 00:30").state is State.PASSED
    assert window(night, now="2026-10-25 00:50").earliest == utc("2026-10-26 01:30")
    assert window(night, now="2026-10-25 01:10").earliest == utc("2026-10-26 01:30")


def test_what_began_in_the_first_of_two_equal_hours_goes_on_in_the_second():
    night = again("30 2 * * *", "1h", "Europe/Zurich")
    begun = (utc("2026-10-25 00:30"), utc("2026-10-25 01:30"))
    assert stretch_at(night, utc("2026-10-25 01:10")) == begun


def test_a_window_on_a_leap_day_opens_years_later():
    leap = again("0 12 29 2 *", "1h")
    assert window(leap, now="2026-11-22 06:00").earliest == utc("2028-02-29 12:00")


def test_a_moment_that_names_its_offset_needs_no_zone():
    named = once("2026-11-22T07:00:00+01:00", "2026-11-22T08:00:00+01:00", "America/New_York")
    assert stretch_at(named, NOW) == (NOW, NOW + timedelta(hours=1))


def test_a_date_alone_is_the_midnight_that_begins_it():
    assert next_begin(once("2026-12-24", "2026-12-27", "Europe/Zurich"), NOW) == utc(
        "2026-12-23 23:00"
    )


# --- freezes ----------------------------------------------------------------------------------


def freeze(*freezes: Period, now: str) -> Verdict:
    return freezes_verdict(freezes, utc(now))


def test_a_freeze_says_until_when_why_and_who_can_change_that():
    holidays = once("2026-12-24", "2027-01-02", reason="nobody is here")
    assert freeze(holidays, now="2026-12-31 23:59") == Verdict(
        "freeze",
        State.PENDING,
        "lasts until 2027-01-02 00:00 UTC (nobody is here)",
        who="whoever may change the configuration, or override with a reason",
        earliest=utc("2027-01-02"),
    )


def test_freezes_that_overlap_or_adjoin_are_one_and_all_reasons_are_told():
    found = freeze(
        once("2026-12-27", "2026-12-30", reason="the year ends"),
        once("2026-12-24", "2026-12-26", reason="Christmas"),
        once("2026-12-25", "2026-12-27", reason="the year ends"),
        once("2026-12-30 00:01", "2026-12-31", reason="too late to matter"),
        now="2026-12-24",
    )
    assert found.reason == "lasts until 2026-12-30 00:00 UTC (Christmas; the year ends)"


def test_nights_and_days_that_take_turns_never_end():
    night, day = again("0 20 * * *", "12h"), again("0 8 * * *", "12h", reason="forever")
    found = freeze(night, day, now="2026-11-22 06:00")
    assert (found.state, found.reason, found.earliest) == (
        State.FAILED,
        "never ends (forever)",
        None,
    )


@pytest.mark.parametrize(
    ("cron", "lasts"),
    [("0 0 * * *", "1d"), ("0 0 1 1 *", "3660d"), ("0 0 29 2 *", "2000d"), ("0 * * * *", "61m")],
)
def test_a_freeze_that_begins_anew_before_it_is_over_never_ends(cron, lasts):
    found = freeze(again(cron, lasts), now="2026-11-22 06:00")
    assert (found.state, found.earliest) == (State.FAILED, None)


def test_a_freeze_of_two_years_that_begins_every_fourth_ends():
    found = freeze(again("0 0 29 2 *", "731d"), now="2025-11-22 06:00")
    assert found.earliest == utc("2026-03-01")


def test_a_freeze_that_is_written_minute_by_minute_ends_when_its_days_do():
    found = freeze(again("* * 24-26 12 *", "1m"), now="2026-12-24 12:00")
    assert found.earliest == utc("2026-12-27")


def test_freezes_that_take_turns_each_minute_end_when_their_days_do():
    even, odd = again("*/2 * 24-26 12 *", "1m"), again("1-59/2 * 24-26 12 *", "1m")
    assert freeze(even, odd, now="2026-12-24 12:00").earliest == utc("2026-12-27")


def test_a_freeze_of_a_thousand_years_ends_also_beside_one_that_comes_each_day():
    long, daily = once("2026-01-01", "2999-12-31 23:59:59"), again("0 9 * * *", "1h")
    assert freeze(long, daily, now="2026-11-22 06:00").earliest == utc("2999-12-31 23:59:59")


def test_a_freeze_holds_in_both_of_two_equal_hours():
    nightly = again("*/15 * * * *", "10m", "Europe/Zurich")
    held = [freeze(nightly, now=f"2026-10-25 0{hour}:20").state for hour in (0, 1)]
    assert held == [State.PENDING, State.PENDING]


def test_without_freezes_nothing_is_frozen():
    assert freezes_verdict([], NOW).state is State.PASSED
    assert freeze(once("2026-12-24", "2026-12-25"), now="2026-12-25").state is State.PASSED
