"""Members of a schedule record as its timetable, and the text of its generation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from haulback.contract.schedules import (
    Day,
    Month,
    Occurrence,
    Repetition,
    Schedule,
    ScheduleExecution,
    Sort,
)
from haulback.policy.timetable import LAST, Cron, Daily, Days, Interval, Timetable
from haulback.units import DAY_MS
from haulback.wire import JsonMapping, read

SERVED = frozenset((Sort.VM_BACKUP, Sort.VM_SNAPSHOT, Sort.VM_RESTORE))
LONGEST_WINDOW_MS = 31 * DAY_MS
_ANY_MOMENT = datetime(2026, 1, 1)
WINDOW_MS = 6 * 3_600_000  # start window of the tasks of a fire, if the schedule sets no length
_TIMES = (
    *("executionType", "hour", "interval", "cron", "timeZone"),
    *("daysOfWeek", "months", "dayOfWeekOccurrences"),
)
_OCCURRENCES = {
    Occurrence.FIRST_IN_MONTH: 1,
    Occurrence.SECOND_IN_MONTH: 2,
    Occurrence.THIRD_IN_MONTH: 3,
    Occurrence.FOURTH_IN_MONTH: 4,
    Occurrence.LAST_IN_MONTH: LAST,
}


def schedule_of(body: JsonMapping) -> Schedule:
    """The struct of a stored schedule.  Raises Malformed."""
    found: Schedule = read({"name": "", **body}, Schedule, "")
    return found


def timetable(schedule: Schedule) -> Timetable:
    """The timetable of a schedule, even of a record that an earlier version stored unchecked.

    Raises ValueError for a type without tasks, for an unknown zone, and for times that are absent
    or out of range.
    """
    if schedule.type not in SERVED:
        raise ValueError(f"no task serves the type {schedule.type.value}")
    try:
        zone = ZoneInfo(schedule.timeZone)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(f"there is no time zone {schedule.timeZone[:60]!r}") from None
    return Timetable(_times(schedule), zone, _days(schedule))


def generation_mark(schedule: Schedule) -> str:
    """The members that determine due times, as text; a different text is a different generation."""
    return msgspec.json.encode({name: getattr(schedule, name) for name in _TIMES}).decode()


def window_of(body: JsonMapping) -> int:
    """The length in ms of the start window of a fire's tasks."""
    return min(int(body.get("startWindowLength") or WINDOW_MS), LONGEST_WINDOW_MS)


def _times(schedule: Schedule) -> Daily | Interval | Cron:
    if schedule.cron is not None:
        return _cron(schedule.cron)
    if schedule.executionType is ScheduleExecution.INTERVAL and schedule.interval:
        lengths = schedule.interval
        if not _is_in_range(lengths):
            raise ValueError("the interval is out of range")
        return Interval(_ms(lengths.startHour), _ms(lengths.endHour), _ms(lengths.frequency))
    if schedule.executionType is ScheduleExecution.TIME and schedule.hour is not None:
        return Daily(_ms(schedule.hour))
    raise ValueError("the schedule has no time")


def _cron(expression: str) -> Cron:
    if len(expression.split()) != 5:  # cronsim reads six fields as including seconds
        raise ValueError(f"the cron expression {expression[:60]!r} does not have five fields")
    try:
        CronSim(expression, _ANY_MOMENT)
    except (CronSimError, TypeError, AssertionError) as error:
        raise ValueError(f"the cron expression {expression[:60]!r} is wrong: {error}") from None
    return Cron(expression)


def _is_in_range(lengths: Repetition) -> bool:
    """Whether a repetition has due times, and at most one a minute."""
    moments = (lengths.startHour, lengths.endHour)
    return 60_000 <= lengths.frequency <= DAY_MS and all(0 <= at <= DAY_MS for at in moments)


def _days(schedule: Schedule) -> Days:
    return Days(
        _places(schedule.daysOfWeek, Day, 0),
        _places(schedule.months, Month, 1),
        frozenset(_OCCURRENCES[named] for named in schedule.dayOfWeekOccurrences),
    )


def _places(chosen: Any, names: Any, first: int) -> frozenset[int]:
    every = list(names)
    return frozenset(every.index(name) + first for name in chosen)


def _ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)
