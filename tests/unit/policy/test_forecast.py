"""Fires to come are expected to last as long as the fires that are done."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from haulback.policy.forecast import FireLength, expected_fires
from haulback.policy.timetable import Daily, Interval, Timetable

HOUR, DAY = 3_600_000, 86_400_000
NIGHTLY = Timetable(Daily(timedelta(hours=22)), ZoneInfo("UTC"))
HOURLY = Timetable(Interval(timedelta(), timedelta(days=1), timedelta(hours=1)), ZoneInfo("UTC"))


def test_a_week_has_seven_nights_and_no_expectation_without_history():
    result = list(expected_fires(NIGHTLY, (0, 7 * DAY), 6 * HOUR, []))
    assert [fire.due.at for fire in result] == [day * DAY + 22 * HOUR for day in range(7)]
    assert {(fire.duration, fire.fits, fire.overlaps) for fire in result} == {(None, None, None)}


def test_one_strange_night_does_not_change_what_is_expected():
    history = [FireLength(hours * HOUR, 0) for hours in (2, 2, 9, 1, 2)]
    [first, *_] = expected_fires(NIGHTLY, (0, 7 * DAY), 6 * HOUR, history)
    assert (first.duration, first.fits, first.overlaps) == (2 * HOUR, True, False)


def test_tasks_that_started_late_are_expected_not_to_fit_the_window():
    history = [FireLength(9 * HOUR, 7 * HOUR)]
    assert not any(fire.fits for fire in expected_fires(NIGHTLY, (0, DAY), 6 * HOUR, history))


def test_a_fire_that_lasts_longer_than_its_interval_overlaps_the_next():
    history = [FireLength(HOUR + 1, 0)]
    result = list(expected_fires(HOURLY, (0, 5 * HOUR), HOUR, history))
    assert len(result) == 5
    assert all(fire.overlaps for fire in result)
    history = [FireLength(HOUR, 0)]
    assert not any(fire.overlaps for fire in expected_fires(HOURLY, (0, 5 * HOUR), HOUR, history))
