"""The dates of daily reports, and the period that each covers."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.policy.daily_report import DueReport, due_report, first_moment
from haulback.units import DAY_MS

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000


def ms(text: str, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def test_a_report_is_due_from_its_local_time_on():
    at = time(7)
    assert due_report(ms("2026-03-10T06:59:59"), at, BERLIN).date == "2026-03-09"
    assert due_report(ms("2026-03-10T07:00"), at, BERLIN) == DueReport(
        "2026-03-10", ms("2026-03-10T07:00")
    )


def test_a_time_that_the_change_of_clocks_skips_is_due_after_the_gap():
    due = due_report(ms("2026-03-29T03:00"), time(2, 30), BERLIN)
    assert due == DueReport("2026-03-29", ms("2026-03-29T03:00"))
    twice = due_report(ms("2026-10-25T04:00"), time(2, 30), BERLIN)
    assert twice.date == "2026-10-25"


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "UTC"])
def test_each_date_is_due_once_and_in_order(zone: str):
    known, at = ZoneInfo(zone), time(0, 30)
    begin, dates = ms("2011-12-25T00:00", ZoneInfo("UTC")), list[str]()
    for step in range(24 * 400):
        due = due_report(begin + step * HOUR, at, known)
        assert due.time <= begin + step * HOUR
        if not dates or dates[-1] != due.date:
            dates.append(due.date)
    assert dates == sorted(set(dates))
    first = date.fromisoformat(dates[0])
    every = {(first + timedelta(days)).isoformat() for days in range(len(dates))}
    # A day that the zone skipped.
    assert len(every - set(dates)) <= (1 if zone == "Pacific/Apia" else 0)


@pytest.mark.parametrize(
    ("changed", "last", "start"),
    [
        (-DAY_MS, None, -DAY_MS),  # the first report covers a day
        (1, None, None),  # enabled after the time of the report
        (1, -DAY_MS, -DAY_MS),  # a change of the policy hides no report
        (-DAY_MS * 9, -DAY_MS * 3, -DAY_MS * 3),  # days without a running server
        (-DAY_MS * 99, -DAY_MS * 30, -DAY_MS * 7),
        (1, -DAY_MS * 30, None),  # enabled again
    ],
)
def test_reports_leave_no_time_out(changed: int, last: int | None, start: int | None):
    now = 1_800_000_000_000
    due = DueReport("2027-01-15", now)
    begin = first_moment(due, now + changed, None if last is None else now + last)
    assert begin == (None if start is None else now + start)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_servers_that_come_and_go_make_one_report_a_date(data: st.DataObject):
    """Servers check at arbitrary moments: no date has two reports, and no time is left out."""
    begin = datetime(2026, 3, 25, tzinfo=UTC)
    moments = sorted(data.draw(st.lists(st.integers(0, 10 * DAY_MS), min_size=1, max_size=40)))
    last: int | None = None
    made: dict[str, tuple[int, int]] = {}
    for moment in moments:
        now = int(begin.timestamp() * 1000) + moment
        due = due_report(now, time(2, 30), BERLIN)
        if due.date in made:
            continue
        start = first_moment(due, 0, last)
        assert start is not None
        assert start <= now
        made[due.date], last = (start, now), now
    spans = list(made.values())
    for (_, end), (start, now) in itertools.pairwise(spans):
        assert start == end or start >= now - 8 * DAY_MS
