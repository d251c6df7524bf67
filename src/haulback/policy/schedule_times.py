"""Members of a schedule record as its timetable, and the mark of its generation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from haulback.contract.schedules import Day, Month, Occurrence, Schedule, ScheduleExecution
from haulback.policy.timetable import LAST, Cron, Daily, Days, Interval, Timetable
from haulback.wire import JsonMapping, read

WINDOW_MS = 6 * 3_600_000  # start window of the tasks of a fire, where the schedule has no length
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
    """The timetable of a schedule whose members were checked.

    Raises ValueError for a schedule without the member that its execution type needs.
    """
    return Timetable(_times(schedule), ZoneInfo(schedule.timeZone), _days(schedule))


def generation_mark(schedule: Schedule) -> str:
    """The members that set due times, as text: another text is another generation."""
    return msgspec.json.encode({name: getattr(schedule, name) for name in _TIMES}).decode()


def window_of(body: JsonMapping) -> int:
    """The length in ms of the start window of a fire's tasks."""
    return int(body.get("startWindowLength") or WINDOW_MS)


def _times(schedule: Schedule) -> Daily | Interval | Cron:
    if schedule.cron is not None:
        return Cron(schedule.cron)
    if schedule.executionType is ScheduleExecution.INTERVAL and schedule.interval:
        lengths = schedule.interval
        return Interval(_ms(lengths.startHour), _ms(lengths.endHour), _ms(lengths.frequency))
    if schedule.executionType is ScheduleExecution.TIME and schedule.hour is not None:
        return Daily(_ms(schedule.hour))
    raise ValueError("the schedule has no time")


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
