"""Members of schedules as timetables; a schedule without usable times is reported."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from haulback.contract.schedules import Day, Month, Occurrence, Schedule, Sort
from haulback.errors import Malformed
from haulback.policy.schedule_times import (
    LONGEST_WINDOW_MS,
    SERVED,
    WINDOW_MS,
    generation_mark,
    schedule_of,
    timetable,
    window_of,
)
from haulback.policy.timetable import LAST, Cron, Daily, Days, Interval, Timetable

HOUR, DAY = 3_600_000, 86_400_000
UTC = ZoneInfo("UTC")


def schedule(**members: Any) -> Schedule:
    return schedule_of({"hour": 22 * HOUR, **members})


def repeated(**members: int) -> Schedule:
    lengths = {"startHour": 8 * HOUR, "endHour": 18 * HOUR, "frequency": HOUR}
    return schedule(executionType="INTERVAL", interval={**lengths, **members})


def test_a_stored_schedule_is_read_and_needs_no_name():
    assert schedule_of({"name": "nightly", "hour": 5}).name == "nightly"
    assert schedule_of({"hour": 5}) == Schedule(name="", hour=5)
    with pytest.raises(Malformed):
        schedule_of({"hour": "late"})


def test_backups_snapshots_and_recovery_plans_of_machines_have_timetables():
    assert {Sort.VM_BACKUP, Sort.VM_SNAPSHOT, Sort.VM_RESTORE} == SERVED
    for sort in Sort:
        wanted = schedule(type=sort.value)
        if sort in SERVED:
            assert timetable(wanted) == Timetable(Daily(timedelta(hours=22)), UTC)
        else:
            with pytest.raises(ValueError, match=rf"^no task serves the type {sort.value}$"):
                timetable(wanted)


def test_a_schedule_runs_by_the_clocks_of_its_zone():
    assert timetable(schedule(timeZone="Asia/Tokyo")).zone == ZoneInfo("Asia/Tokyo")


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "x" * 61])
def test_a_zone_that_the_machine_does_not_know_gives_no_timetable(zone: str):
    with pytest.raises(ValueError, match=rf"^there is no time zone '{zone[:60]}'$"):
        timetable(schedule(timeZone=zone))


def test_an_interval_runs_from_its_first_to_its_last_time():
    hours = (timedelta(hours=8), timedelta(hours=18), timedelta(hours=1))
    assert timetable(repeated()).times == Interval(*hours)


@pytest.mark.parametrize(
    "lengths",
    [
        {"frequency": 60_000},
        {"frequency": DAY},
        {"startHour": 0},
        {"startHour": DAY},
        {"endHour": 0},
        {"endHour": DAY},
    ],
)
def test_an_interval_may_reach_the_bounds_of_a_day(lengths: dict[str, int]):
    [(name, value)] = lengths.items()
    times = timetable(repeated(**lengths)).times
    member = {"frequency": "every", "startHour": "start", "endHour": "end"}[name]
    assert getattr(times, member) == timedelta(milliseconds=value)


@pytest.mark.parametrize(
    "lengths",
    [
        {"frequency": 59_999},
        {"frequency": DAY + 1},
        {"startHour": -1},
        {"startHour": DAY + 1},
        {"endHour": -1},
        {"endHour": DAY + 1},
    ],
)
def test_an_interval_out_of_range_gives_no_timetable(lengths: dict[str, int]):
    with pytest.raises(ValueError, match=r"^the interval is out of range$"):
        timetable(repeated(**lengths))


@pytest.mark.parametrize(
    "members",
    [
        {"hour": None},
        {"executionType": "INTERVAL"},
        {"hour": None, "interval": {"frequency": HOUR}},
    ],
)
def test_a_schedule_without_the_times_of_its_trigger_gives_no_timetable(members: dict[str, Any]):
    with pytest.raises(ValueError, match=r"^the schedule has no time$"):
        timetable(schedule(**members))


def test_midnight_is_a_time():
    assert timetable(schedule(hour=0)).times == Daily(timedelta())


def test_a_cron_expression_replaces_the_other_times():
    assert timetable(schedule(cron="0 22 * * *")).times == Cron("0 22 * * *")
    both = schedule(cron="5 4 * * 1", executionType="INTERVAL", interval={"frequency": HOUR})
    assert timetable(both).times == Cron("5 4 * * 1")


@pytest.mark.parametrize("text", ["", "0 22 * *", "0 0 22 * * *", "x" * 61])
def test_a_cron_expression_has_five_fields(text: str):
    words = rf"^the cron expression '{text[:60]}' does not have five fields$".replace("*", r"\*")
    with pytest.raises(ValueError, match=words):
        timetable(schedule(cron=text))


@pytest.mark.parametrize("text", ["61 * * * *", "0 0 * * MON#9", "0 0 1 1 " + "x" * 60])
def test_a_cron_expression_that_cannot_be_read_is_named(text: str):
    words = rf"^the cron expression '{text[:60]}' is wrong: .".replace("*", r"\*")
    with pytest.raises(ValueError, match=words):
        timetable(schedule(cron=text))


def test_a_schedule_may_name_days_months_and_occurrences():
    chosen = timetable(
        schedule(
            daysOfWeek=["MONDAY", "SUNDAY"],
            months=["JANUARY", "DECEMBER"],
            dayOfWeekOccurrences=["FIRST_IN_MONTH", "LAST_IN_MONTH"],
        )
    ).days
    assert chosen == Days(frozenset({0, 6}), frozenset({1, 12}), frozenset({1, LAST}))
    assert timetable(schedule()).days == Days()


def test_days_months_and_occurrences_count_in_the_order_of_the_calendar():
    for place, day in enumerate(Day):
        assert timetable(schedule(daysOfWeek=[day.value])).days.weekdays == {place}
    for place, month in enumerate(Month, 1):
        assert timetable(schedule(months=[month.value])).days.months == {place}
    for place, nth in zip((1, 2, 3, 4, LAST), Occurrence, strict=True):
        days = timetable(schedule(dayOfWeekOccurrences=[nth.value])).days
        assert days.occurrences == {place}


CHANGES = {
    "executionType": "INTERVAL",
    "hour": HOUR,
    "interval": {"frequency": HOUR},
    "cron": "0 22 * * *",
    "timeZone": "Asia/Tokyo",
    "daysOfWeek": ["MONDAY"],
    "months": ["MAY"],
    "dayOfWeekOccurrences": ["LAST_IN_MONTH"],
}


def test_another_time_is_another_generation_of_a_schedule_and_another_name_is_not():
    marks = {generation_mark(schedule(**{name: value})) for name, value in CHANGES.items()}
    assert len(marks | {generation_mark(schedule())}) == len(CHANGES) + 1
    same = schedule(name="nightly", active=False, backupType="INCREMENTAL", startWindowLength=5)
    assert generation_mark(same) == generation_mark(schedule())


def test_the_mark_of_a_generation_stays_readable_for_stored_schedules():
    assert generation_mark(schedule(daysOfWeek=["MONDAY"])) == (
        '{"executionType":"TIME","hour":79200000,"interval":null,"cron":null,"timeZone":"UTC",'
        '"daysOfWeek":["MONDAY"],"months":[],"dayOfWeekOccurrences":[]}'
    )


def test_the_tasks_of_a_fire_start_within_six_hours_or_the_length_that_the_schedule_names():
    assert (WINDOW_MS, LONGEST_WINDOW_MS) == (6 * HOUR, 31 * DAY)
    assert window_of({}) == window_of({"startWindowLength": None}) == 6 * HOUR
    assert window_of({"startWindowLength": "60000"}) == 60_000
    assert window_of({"startWindowLength": 32 * DAY}) == 31 * DAY
