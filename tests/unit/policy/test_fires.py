"""Each due time runs once or is missed, however rarely and irregularly a server checks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from haulback.policy import fires
from haulback.policy.fires import LISTED, due_now, following
from haulback.policy.timetable import Daily, Interval, Timetable, due_times
from tests import shares

_CASES = shares.cases("schedules")
HOUR, DAY = 3_600_000, 86_400_000
BERLIN = ZoneInfo("Europe/Berlin")
START = int(datetime(2026, 3, 20, tzinfo=UTC).timestamp() * 1000)  # nine days before the change
TABLES = st.builds(
    Timetable,
    st.builds(Daily, st.integers(0, 1439).map(lambda n: timedelta(minutes=n)))
    | st.builds(
        Interval,
        st.integers(0, 1439).map(lambda n: timedelta(minutes=n)),
        st.integers(0, 1440).map(lambda n: timedelta(minutes=n)),
        st.integers(60, 1440).map(lambda n: timedelta(minutes=n)),
    ),
    st.sampled_from([BERLIN, ZoneInfo("UTC"), ZoneInfo("America/Santiago")]),
)


@seed(_CASES.first)
@settings(max_examples=_CASES.count, deadline=None, database=None)
@given(
    TABLES,
    st.lists(st.integers(1, 3 * DAY), min_size=1, max_size=12),
    st.integers(60_000, 2 * DAY),
)
def test_every_due_time_runs_inside_its_window_or_is_missed_and_never_both(table, steps, window):
    after = now = START
    runs, missed = list[int](), list[int]()
    for step in steps:
        now += step
        choice = due_now(table, after, now, window)
        if choice.runs:
            assert choice.runs.at <= now < choice.runs.at + window
            assert all(due.at < choice.runs.at for due in choice.missed)
            runs.append(choice.runs.at)
        missed += [due.at for due in choice.missed]
        after = choice.newest.at if choice.newest else after
    expected = [due.at for due in due_times(table, START, now)]
    assert sorted(runs + missed) == expected
    for at in missed:  # a time is missed only if a later one had come, or its window had closed
        assert any(at < other <= now for other in expected) or now >= at + window


def test_a_long_absence_from_a_frequent_schedule_lists_only_its_newest_times():
    every = Interval(timedelta(), timedelta(days=1), timedelta(minutes=1))
    choice = due_now(Timetable(every, ZoneInfo("UTC")), START, START + 400 * DAY, HOUR)
    assert choice.runs
    assert choice.runs.at == START + 400 * DAY
    assert len(choice.missed) == LISTED - 1


def test_an_absence_of_years_computes_a_bounded_number_of_due_times(monkeypatch):
    computed = []

    def counted(*args):
        for due in due_times(*args):
            computed.append(due)
            yield due

    monkeypatch.setattr(fires, "due_times", counted)
    minutely = Interval(timedelta(0), timedelta(hours=24), timedelta(minutes=1))
    choice = due_now(Timetable(minutely, BERLIN), START, START + 40 * DAY, HOUR)
    assert choice.runs
    assert len(choice.missed) == LISTED - 1
    assert len(computed) < 10_000  # of 57,600


def test_a_long_absence_from_a_rare_schedule_is_noticed():
    choice = due_now(Timetable(Daily(timedelta(hours=1)), BERLIN), START, START + 20 * DAY, HOUR)
    assert (choice.runs, len(choice.missed)) == (None, 20)


def test_a_nominal_time_that_zone_data_bring_a_second_time_does_not_fire_again():
    table = Timetable(Daily(timedelta(hours=22)), BERLIN)
    first, second = list(due_times(table, START, START + 2 * DAY))[:2]
    assert following(table, START, lambda due: due == first) == second
