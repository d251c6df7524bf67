"""Future fires are expected to last as long as past fires."""

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


def test_the_window_of_a_fire_to_come_opens_at_its_due_time():
    history = [FireLength(2 * HOUR, 6 * HOUR)]
    [first, last] = expected_fires(NIGHTLY, (0, 2 * DAY), 6 * HOUR, history)
    assert (first.window_end, last.window_end) == (28 * HOUR, 52 * HOUR)
    assert (first.fits, last.fits) == (True, True)
    assert (last.duration, last.overlaps) == (2 * HOUR, False)


def test_a_span_without_a_due_time_has_no_fires():
    assert list(expected_fires(NIGHTLY, (0, HOUR), HOUR, [FireLength(HOUR, 0)])) == []


def test_the_last_fire_of_a_span_overlaps_a_due_time_beyond_the_span():
    for length, overlaps in ((DAY + 1, True), (DAY, False)):
        [fire] = expected_fires(NIGHTLY, (0, DAY), HOUR, [FireLength(length, 0)])
        assert fire.overlaps is overlaps


def test_of_two_nights_the_shorter_is_expected():
    history = [FireLength(2 * HOUR, 7 * HOUR), FireLength(4 * HOUR, HOUR)]
    [fire] = expected_fires(NIGHTLY, (0, DAY), HOUR, history)
    assert (fire.duration, fire.fits) == (2 * HOUR, True)
