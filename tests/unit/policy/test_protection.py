"""The state of a machine by its policy's RPO, and the RPO that schedules imply."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.contract.protection import ProtectionState
from haulback.policy import protection
from haulback.policy.protection import BackupTimetable, MachineCase, judge, rpo_of
from haulback.policy.timetable import LAST, Cron, Daily, Days, Interval, Timetable, due_times

HOUR, DAY = 3_600_000, 86_400_000
NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp() * 1000)
BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
WINDOW = 6 * HOUR
LAST_ONLY, NONE = frozenset({LAST}), frozenset()


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def nightly(*weekdays: int, hour: float = 22, zone: ZoneInfo = UTC_ZONE) -> Timetable:
    return Timetable(Daily(hours(hour)), zone, Days(weekdays=frozenset(weekdays)))


@pytest.mark.parametrize(
    ("tables", "gap"),
    [
        ([nightly()], DAY),
        ([nightly(0, 1, 2, 3, 4)], 3 * DAY),  # from Friday to Monday
        ([nightly(0, 1, 2, 3, 4), nightly(5, hour=10)], 2 * DAY + 12 * HOUR),
        ([nightly(6)], 7 * DAY),
        ([Timetable(Interval(hours(8), hours(18), hours(2)), UTC_ZONE)], 14 * HOUR),
        ([Timetable(Interval(hours(0), hours(24), hours(1)), UTC_ZONE)], HOUR),
        ([Timetable(Cron("0 3 1 * *"), UTC_ZONE)], 31 * DAY),
        ([Timetable(Daily(hours(3)), UTC_ZONE, Days(frozenset({0}), NONE, LAST_ONLY))], 35 * DAY),
        ([Timetable(Daily(hours(3)), UTC_ZONE, Days(months=frozenset({6})))], 336 * DAY),
    ],
)  # fmt: skip
def test_schedules_promise_their_largest_gap_and_a_start_window(tables, gap):
    assert rpo_of([BackupTimetable(table, WINDOW) for table in tables], NOW) == gap + WINDOW


def test_the_longest_start_window_counts_and_no_schedule_promises_nothing():
    assert (
        rpo_of([BackupTimetable(nightly(), HOUR), BackupTimetable(nightly(), 2 * HOUR)], NOW)
        == DAY + 2 * HOUR
    )
    assert rpo_of([], NOW) is None


def test_the_day_on_which_the_clock_is_set_back_promises_an_hour_more():
    october = int(datetime(2026, 10, 20, tzinfo=UTC).timestamp() * 1000)
    assert rpo_of([BackupTimetable(nightly(zone=BERLIN), 0)], october) == DAY + HOUR


def test_a_day_that_comes_once_in_four_years_is_a_promise_as_well():
    leap = Timetable(Cron("0 0 29 2 *"), UTC_ZONE)
    assert rpo_of([BackupTimetable(leap, 0)], NOW) == 1461 * DAY


def test_backups_in_one_month_of_the_year_promise_the_gap_behind_the_coming_ones():
    march = Timetable(Cron("0 10 * 3 *"), UTC_ZONE)
    assert rpo_of([BackupTimetable(march, 0)], NOW) == 336 * DAY  # with 29 February 2028


tables = st.builds(
    lambda days, hour: nightly(*days, hour=hour),
    st.frozensets(st.integers(0, 6)),
    st.integers(0, 23),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(tables, min_size=1, max_size=3), st.integers(0, 14 * DAY))
def test_a_machine_that_is_backed_up_at_each_due_time_is_never_late(chosen, shift):
    now = NOW + shift
    rpo = rpo_of([BackupTimetable(table, 0) for table in chosen], now)
    dues = sorted({due.at for table in chosen for due in due_times(table, now, now + 14 * DAY)})
    for last, later in pairwise(dues):
        case = MachineCase(
            True, rpo, last, failed=False, pending=False, before=ProtectionState.PROTECTED
        )
        assert judge(case, later).state is ProtectionState.PROTECTED


cases = st.builds(
    MachineCase,
    st.booleans(),
    st.none() | st.integers(HOUR, 3 * DAY),
    st.none() | st.integers(NOW - 4 * DAY, NOW),
    failed=st.booleans(),
    pending=st.booleans(),
    before=st.sampled_from(ProtectionState),
)


@settings(max_examples=300, deadline=None)
@given(cases)
def test_a_machine_has_one_state_and_changes_it_when_it_says_so(case):
    state, due = judge(case, NOW)
    if not case.governed:
        assert state is ProtectionState.UNASSIGNED
    elif case.last_good is None:
        assert state is ProtectionState.NEVER
    elif case.rpo is not None and NOW - case.last_good > case.rpo:
        assert state is ProtectionState.LATE
    if due is not None:
        assert judge(case, due).state is state
        assert judge(case, due + 1).state is ProtectionState.LATE
    else:
        assert judge(case, NOW + 10_000 * DAY).state is state


def test_a_backup_that_is_tried_again_does_not_fail_its_machine_yet():
    case = MachineCase(True, DAY, NOW, failed=True, pending=True, before=ProtectionState.PROTECTED)
    assert judge(case, NOW).state is ProtectionState.PROTECTED
    assert judge(case._replace(pending=False), NOW).state is ProtectionState.FAILING
    still = case._replace(before=ProtectionState.FAILING)
    assert judge(still, NOW).state is ProtectionState.FAILING


def test_a_promise_looks_two_weeks_ahead_and_not_to_the_next_change_of_the_clock():
    assert rpo_of([BackupTimetable(nightly(zone=BERLIN), 0)], NOW) == DAY


def test_a_single_due_time_promises_the_time_until_then():
    fifth_sunday_of_february = Timetable(Cron("0 0 * 2 0#5"), UTC_ZONE)
    due = int(datetime(2032, 2, 29, tzinfo=UTC).timestamp() * 1000)
    assert rpo_of([BackupTimetable(fifth_sunday_of_february, HOUR)], NOW) == due - NOW + HOUR


def test_every_minute_of_a_year_is_a_promise_of_a_minute():
    assert rpo_of([BackupTimetable(Timetable(Cron("* * * * *"), UTC_ZONE), 0)], NOW) == 60_000


def test_a_machine_is_late_after_its_rpo_and_not_at_it():
    case = MachineCase(
        True, DAY, NOW, failed=False, pending=False, before=ProtectionState.PROTECTED
    )
    assert judge(case, NOW + DAY) == (ProtectionState.PROTECTED, NOW + DAY)
    assert judge(case, NOW + DAY + 1) == (ProtectionState.LATE, None)
    assert judge(case._replace(rpo=None), NOW) == (ProtectionState.PROTECTED, None)
    assert judge(case._replace(last_good=None), NOW) == (ProtectionState.NEVER, None)
    assert judge(case._replace(governed=False), NOW) == (ProtectionState.UNASSIGNED, None)


def test_the_rpo_of_a_frequent_schedule_reads_a_bounded_number_of_due_times(monkeypatch):
    computed = []

    def counted(*args):
        for due in due_times(*args):
            computed.append(due)
            yield due

    monkeypatch.setattr(protection, "due_times", counted)
    minutely = Interval(hours(0), hours(24), timedelta(minutes=1))
    january = Days(months=frozenset({1}))  # whose next gap is eleven months long
    rpo_of([BackupTimetable(Timetable(minutely, UTC_ZONE, january), WINDOW)], NOW)
    assert len(computed) < 30_000  # of the 44,640 minutes of a January
