"""The date of the daily report that is due, and the time that the report covers."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from haulback.policy.local_time import first_instant
from haulback.units import DAY_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_MS = 7 * DAY_MS  # span of a report after days without a server
_PAUSE_MS = 2 * DAY_MS  # after so long without a report the next report is a first report


class DueReport(NamedTuple):
    """A local date (ISO) whose time of the report has come, and that time in epoch ms."""

    date: str
    time: int


def due_report(now: int, at: time, zone: ZoneInfo) -> DueReport:
    """The newest date whose report is due at `now` (epoch ms); reports are made at `at` local time.

    A time that the change of clocks skips is due at the end of the gap.
    """
    today = (_EPOCH + timedelta(milliseconds=now)).astimezone(zone).date()
    for date in (today, today - timedelta(days=1)):
        due = (first_instant(datetime.combine(date, at), zone) - _EPOCH) // timedelta(
            milliseconds=1
        )
        if due <= now:
            break
    return DueReport(date.isoformat(), due)


def first_moment(due: DueReport, changed: int, last: int | None) -> int | None:
    """The begin (epoch ms) of a policy's report, or None while the policy has no report due.

    `last` is the end of its last report, None without one.  The first report is that of the first
    time after the policy was `changed`, and covers a day.  A later report continues the last
    report, so that no backup is left out while no server runs.
    """
    if last is None or last < due.time - _PAUSE_MS:
        if changed > due.time:
            return None
        return due.time - DAY_MS if last is None else max(last, due.time - _LONGEST_MS)
    return last
