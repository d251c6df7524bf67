"""Due times of a schedule: daily, at intervals, or by a cron expression, in an IANA zone.

A daily time, or a cron expression with fixed hours, is a time of the local clock: a time that a
change of the clock skips is due once at the next valid time, and a time that occurs twice is due
once.  Intervals, and cron expressions with a wildcard hour, follow elapsed time, so that both hours
count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from haulback.policy.local_time import first_instant, instants

DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
LAST = -1  # the last of a weekday's occurrences in a month
_SEARCHED_DAYS = 366 * 8 + 2  # 29 February is at most eight years away
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Due(NamedTuple):
    """A due time: the instant (epoch ms), and the local date and time that names the fire.

    `nominal` is unique within a timetable; if a time occurs twice and is due twice, the second has
    the offset from UTC.
    """

    at: int
    nominal: str


@dataclass(frozen=True)
class Daily:
    """A time of the day, as the time since midnight on the local clock."""

    hour: timedelta


@dataclass(frozen=True)
class Interval:
    """Repeated times from `start` to `end` (times of the day, both included), each `every`.

    An `end` before `start` is on the next day; an `end` of 24 hours excludes midnight.
    """

    start: timedelta
    end: timedelta
    every: timedelta


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields, parsed by cronsim."""

    expression: str

    @property
    def follows_elapsed_time(self) -> bool:
        """Whether the hour is a wildcard."""
        return "*" in self.expression.split()[1]


@dataclass(frozen=True)
class Days:
    """Days on which a timetable is valid; an empty set means no restriction.

    `weekdays` count from 0 (Monday), `months` from 1; `occurrences` are 1 to 4 and LAST: the
    occurrence of the weekday in its month.
    """

    weekdays: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    occurrences: frozenset[int] = frozenset()

    def has(self, day: date) -> bool:
        """Whether `day` is one of these days."""
        if self.weekdays and day.weekday() not in self.weekdays:
            return False
        if self.months and day.month not in self.months:
            return False
        last = (day + 7 * DAY).month != day.month
        occurrence = (day.day - 1) // 7 + 1
        return (
            not self.occurrences
            or occurrence in self.occurrences
            or (last and LAST in self.occurrences)
        )


@dataclass(frozen=True)
class Timetable:
    """A schedule's times: the times of a day, the days, and the time zone."""

    times: Daily | Interval | Cron
    zone: ZoneInfo
    days: Days = field(default_factory=Days)


def due_times(table: Timetable, after: int, until: int) -> Iterator[Due]:
    """Due times later than `after` and not later than `until` (epoch ms), in order.

    Two nominal times at the same instant count as one due time.  Raises nothing; a timetable
    without further times ends.
    """
    # A clock change may move a time of the previous day to a time after `after`.
    first = _local_day(after, table.zone) - DAY
    final = _local_day(until, table.zone) + DAY
    last = after
    for due in _from_day(table, first, final):
        if due.at > until and due.at > last:
            return
        if due.at > last:
            last = due.at
            yield due


def next_due(table: Timetable, after: int) -> Due | None:
    """The first due time later than `after` (epoch ms); None if the next eight years have none."""
    horizon = after + _SEARCHED_DAYS * 86_400_000
    return next(due_times(table, after, horizon), None)


def _from_day(table: Timetable, first: date, final: date) -> Iterator[Due]:
    """Due times of the local days from `first` to `final`, in order within a day."""
    if isinstance(table.times, Cron):
        for locals_ in _cron_days(table, table.times.expression, first, final):
            yield from sorted(_by_cron(table.times, locals_, table.zone))
        return
    day = first
    while day <= final:
        if table.days.has(day):
            yield from _of_day(table.times, datetime.combine(day, time.min), table.zone)
        day += DAY


def _of_day(times: Daily | Interval, midnight: datetime, zone: ZoneInfo) -> list[Due]:
    if isinstance(times, Daily):
        return [_once(midnight + times.hour, zone)]
    return _elapsed(times, midnight, zone)


def _once(local: datetime, zone: ZoneInfo) -> Due:
    return Due(_epoch_ms(first_instant(local, zone)), _text(local))


def _elapsed(interval: Interval, midnight: datetime, zone: ZoneInfo) -> list[Due]:
    end = interval.end + (DAY if interval.end < interval.start else timedelta())
    instant = first_instant(midnight + interval.start, zone)
    last = first_instant(midnight + end, zone)
    if interval.end == DAY:
        last -= timedelta(milliseconds=1)
    result = []
    while instant <= last:
        result.append(_shown(instant, zone))
        instant += interval.every
    return result


def _cron_days(
    table: Timetable, expression: str, first: date, final: date
) -> Iterator[list[datetime]]:
    """Local times of an expression on each valid day.

    The search continues from the last found time, so that a rare time is searched once, not again
    on each day before it. After an invalid day the search starts again, so that its minutes are not
    read.
    """
    # cronsim returns times later than its start, so the start is a minute earlier to include
    # midnight.
    times = CronSim(expression, datetime.combine(first, time.min) - _MINUTE)
    local = next(times, None)
    while local and local.date() <= final:
        day = local.date()
        if not table.days.has(day):
            times = CronSim(expression, datetime.combine(day + DAY, time.min) - _MINUTE)
            local = next(times, None)
            continue
        of_day = []
        while local and local.date() == day:
            of_day.append(local)
            local = next(times, None)
        yield of_day


def _by_cron(cron: Cron, locals_: Iterable[datetime], zone: ZoneInfo) -> Iterator[Due]:
    for local in locals_:
        if cron.follows_elapsed_time:
            yield from (_shown(instant, zone) for instant in instants(local, zone))
        else:
            yield _once(local, zone)


def _shown(instant: datetime, zone: ZoneInfo) -> Due:
    local = instant.astimezone(zone)
    offset = local.strftime("%z") if local.fold else ""
    return Due(_epoch_ms(instant), _text(local) + offset)


def _text(local: datetime) -> str:
    return local.replace(tzinfo=None).isoformat(timespec="seconds")


def _epoch_ms(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _local_day(at: int, zone: ZoneInfo) -> date:
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone).date()
