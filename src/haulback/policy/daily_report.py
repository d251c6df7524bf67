"""The date of the daily report that is due, and the period that the report covers."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from haulback.policy.local_time import first_instant
from haulback.units import DAY_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_MS = 7 * DAY_MS  # period of a report after days without a running server
_PAUSE_MS = 2 * DAY_MS  # after this time without a report the next report is a first report


class DueReport(NamedTuple):
    """A local date (ISO) whose report is due, and the due time in epoch ms."""

    date: str
    time: int


def due_report(now: int, at: time, zone: ZoneInfo) -> DueReport:
    """The newest date whose report is due at `now` (epoch ms); a report is due at the local time
    `at`.

    A due time that a change of the clock skips is moved to the end of the gap.
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
    """The start (epoch ms) of the period of a policy's report, or None while no report is due.

    `last` is the end of the last reported period, None before the first report.  The first report
    is due at the first due time after the policy was `changed`, and covers a day.  A later report
    begins where the last report ended, so that it includes backups of a time without a running
    server.
    """
    if last is None or last < due.time - _PAUSE_MS:
        if changed > due.time:
            return None
        return due.time - DAY_MS if last is None else max(last, due.time - _LONGEST_MS)
    return last
