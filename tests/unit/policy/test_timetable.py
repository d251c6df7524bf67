"""Due times equal an oracle that steps minute by minute through real zone data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSimError
from hypothesis import assume, given, seed, settings
from hypothesis import strategies as st

from haulback.policy.timetable import (
    LAST,
    Cron,
    Daily,
    Days,
    Due,
    Interval,
    Timetable,
    due_times,
    next_due,
)
from tests import shares

_CASES = shares.cases("schedules")
_USUAL = 60  # cases of each property in an ordinary run, because the oracle is slow


def checked(test):
    """Cases of a property in this number, selected by the first seed."""
    count = _CASES.count if _CASES.whole else _USUAL
    return seed(_CASES.first)(settings(max_examples=count, deadline=None, database=None)(test))


MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Changes by an hour, half an hour (Lord Howe), a whole day (Apia), at midnight (Beirut, Havana,
# Santiago), and zones that abolished the change or never had it.
ZONES = (
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Beirut",
    "America/Havana", "America/Santiago", "Africa/Casablanca", "Asia/Kolkata", "UTC",
    "America/Sao_Paulo", "Asia/Pyongyang", "Europe/Istanbul", "Africa/Cairo",
)  # fmt: skip


def ms(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(milliseconds=1)


def week_of_change(zone: ZoneInfo, year: int) -> datetime:
    """Three days before a clock change in `year`, or the beginning of the year if it has none."""
    day = datetime(year, 1, 1, tzinfo=UTC)
    for _ in range(366):
        if (
            day.astimezone(zone).utcoffset()
            != (day + timedelta(days=1)).astimezone(zone).utcoffset()
        ):
            return day - timedelta(days=3)
        day += timedelta(days=1)
    return datetime(year, 1, 1, tzinfo=UTC)


@st.composite
def weeks(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    year = draw(st.integers(2000, 2039))
    if draw(st.integers(0, 9)):
        return zone, week_of_change(zone, year)
    return zone, datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 364)))


DAYS = st.builds(
    Days,
    st.frozensets(st.integers(0, 6), max_size=7),
    st.just(frozenset()) | st.frozensets(st.integers(1, 12), min_size=6, max_size=12),
    st.just(frozenset()) | st.frozensets(st.sampled_from([1, 2, 3, 4, LAST]), min_size=2),
)
MINUTES_OF_A_DAY = st.integers(0, 1439).map(lambda n: timedelta(minutes=n))


@lru_cache(maxsize=200)
def oracle_of(zone: ZoneInfo, start: datetime) -> Oracle:
    return Oracle(zone, start)


class Oracle:
    """The clock of a zone, minute by minute, for nine days from `start`."""

    def __init__(self, zone: ZoneInfo, start: datetime) -> None:
        self.start, self.end = start, start + timedelta(days=7)
        self.minutes = []
        instant = start - timedelta(days=3)
        while instant <= self.end + timedelta(days=3):
            self.minutes.append((instant, instant.astimezone(zone).replace(tzinfo=None)))
            instant += MINUTE
        self.first_shown: dict[datetime, datetime] = {}
        for instant, local in self.minutes:
            self.first_shown.setdefault(local, instant)

    def first(self, wanted: datetime) -> datetime | None:
        """The first minute that shows `wanted`, or else the first that shows a later time."""
        if wanted in self.first_shown:
            return self.first_shown[wanted]
        return next((instant for instant, local in self.minutes if local > wanted), None)

    def local_midnights(self, days: Days) -> list[datetime]:
        dates = sorted({local.date() for _, local in self.minutes})
        # Times of a day that the zone skipped are moved to the next valid time.
        span = range((dates[-1] - dates[0]).days + 1)
        every = [dates[0] + timedelta(days=n) for n in span]
        return [datetime(d.year, d.month, d.day) for d in every if is_day(d, days)]

    def in_week(self, instants: list[datetime]) -> list[int]:
        return [ms(item) for item in sorted(set(instants)) if self.start < item <= self.end]


def is_day(day, days: Days) -> bool:
    same_name = [
        day.replace(day=n)
        for n in range(1, 32)
        if valid(day, n) and day.replace(day=n).weekday() == day.weekday()
    ]
    rank = same_name.index(day) + 1
    ranks = {rank} | ({LAST} if day == same_name[-1] else set())
    return (
        (not days.weekdays or day.weekday() in days.weekdays)
        and (not days.months or day.month in days.months)
        and (not days.occurrences or bool(ranks & days.occurrences))
    )


def valid(day, number: int) -> bool:
    try:
        day.replace(day=number)
    except ValueError:
        return False
    return True


def due(table: Timetable, oracle: Oracle) -> list[Due]:
    result = list(due_times(table, ms(oracle.start), ms(oracle.end)))
    assert len({item.nominal for item in result}) == len(result)
    return result


@checked
@given(weeks(), MINUTES_OF_A_DAY, DAYS)
def test_a_daily_time_falls_due_once_a_day_whatever_the_clock_does(week, hour, days):
    zone, start = week
    oracle = oracle_of(zone, start)
    wanted = [oracle.first(midnight + hour) for midnight in oracle.local_midnights(days)]
    result = due(Timetable(Daily(hour), zone, days), oracle)
    assert [item.at for item in result] == oracle.in_week([item for item in wanted if item])


@checked
@given(weeks(), MINUTES_OF_A_DAY, MINUTES_OF_A_DAY, st.integers(1, 1440), DAYS)
def test_an_interval_follows_elapsed_time(week, first, last, every, days):
    zone, start = week
    oracle = oracle_of(zone, start)
    wanted = []
    for midnight in oracle.local_midnights(days):
        instant = oracle.first(midnight + first)
        end = oracle.first(midnight + last + timedelta(days=last < first))
        while instant and end and instant <= end:
            wanted.append(instant)
            instant += timedelta(minutes=every)
    table = Timetable(Interval(first, last, timedelta(minutes=every)), zone, days)
    assert [item.at for item in due(table, oracle)] == oracle.in_week(wanted)


@checked
@given(weeks(), st.sampled_from(["*", "*/2", "*/5"]), st.sampled_from(["0", "30", "*/15", "7,53"]))
def test_a_cron_expression_with_a_wildcard_hour_runs_in_both_hours(week, hour, minute):
    zone, start = week
    oracle = oracle_of(zone, start)
    step = int(hour[2:]) if hour != "*" else 1
    minutes = {"0": {0}, "30": {30}, "*/15": {0, 15, 30, 45}, "7,53": {7, 53}}[minute]
    wanted = [
        instant
        for instant, local in oracle.minutes
        if local.minute in minutes and local.hour % step == 0
    ]
    result = due(Timetable(Cron(f"{minute} {hour} * * *"), zone), oracle)
    assert [item.at for item in result] == oracle.in_week(wanted)


@checked
@given(weeks(), st.integers(0, 23), st.integers(0, 59))
def test_a_cron_expression_with_a_fixed_hour_is_a_daily_time(week, hour, minute):
    zone, start = week
    oracle = oracle_of(zone, start)
    daily = Timetable(Daily(timedelta(hours=hour, minutes=minute)), zone)
    assert due(Timetable(Cron(f"{minute} {hour} * * *"), zone), oracle) == due(daily, oracle)


@checked
@given(weeks(), MINUTES_OF_A_DAY, DAYS, st.integers(0, 7 * 1440))
def test_the_next_due_time_is_the_first_of_those_to_come(week, hour, days, minutes):
    zone, start = week
    table = Timetable(Daily(hour), zone, days)
    after = ms(start) + minutes * 60_000
    assume(days.has(datetime(2000, 1, 3)) or days.weekdays)
    later = next(due_times(table, after, after + 400 * 86_400_000), None)
    assert next_due(table, after) == later or later is None


def test_a_cron_expression_on_some_days_skips_the_other_days():
    mondays = Timetable(Cron("0,30 3 * * *"), ZoneInfo("UTC"), Days(weekdays=frozenset({0})))
    first = ms(datetime(2026, 11, 24, tzinfo=UTC))  # a Tuesday
    shown = [due.nominal for due in due_times(mondays, first, first + 14 * 86_400_000)]
    assert [text[:16] for text in shown] == [
        "2026-11-30T03:00",
        "2026-11-30T03:30",
        "2026-12-07T03:00",
        "2026-12-07T03:30",
    ]


def test_an_expression_that_never_falls_due_is_refused():
    with pytest.raises(CronSimError):
        next_due(Timetable(Cron("0 0 30 2 *"), ZoneInfo("UTC")), 0)


@pytest.mark.parametrize(
    ("day", "hour", "shown"),
    [
        # A skipped time: the end of the gap.
        ("2026-03-29", "02:30", ["2026-03-29T01:00:00+00:00"]),
        # A repeated time: the first of both.
        ("2026-10-25", "02:30", ["2026-10-25T00:30:00+00:00"]),
    ],
)
def test_half_past_two_in_berlin_runs_once_on_both_days_of_change(day, hour, shown):
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=3)
    hours, minutes = hour.split(":")
    table = Timetable(
        Daily(timedelta(hours=int(hours), minutes=int(minutes))), ZoneInfo("Europe/Berlin")
    )
    result = list(due_times(table, ms(start), ms(start + timedelta(hours=24))))
    assert [(EPOCH + timedelta(milliseconds=item.at)).isoformat() for item in result] == shown
    assert [item.nominal for item in result] == [f"{day}T{hour}:00"]
