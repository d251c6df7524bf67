"""The growth of a destination, the day on which it will be full, and the limits for new backups."""

from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.contract.space import SpaceLimits
from haulback.policy.space import DayUse, PlaceSpace, full_at, growth, minimum_free, room, why_full
from haulback.units import DAY_MS, GIB, TIB

NOW = 1_800_000_000_000


def test_the_growth_is_the_mean_of_the_days_and_needs_two():
    assert growth([]) is None
    assert growth([DayUse(1, 5)]) is None
    assert growth([DayUse(1, 100), DayUse(2, 110), DayUse(4, 130)]) == 10


def test_a_clean_up_in_between_does_not_hide_the_growth():
    saw = [DayUse(day, 100 * day - 250 * (day >= 5)) for day in range(10)]
    per_day = growth(saw)
    assert per_day
    assert 50 < per_day < 100


def test_a_destination_is_full_where_its_first_limit_is_reached():
    space = PlaceSpace(total=TIB, free=100 * GIB, held=300 * GIB)
    limits = SpaceLimits(quota=320 * GIB, minimumFree=50 * GIB)
    assert room(space, limits) == 20 * GIB
    assert full_at(space, limits, 10 * GIB, NOW) == NOW + 2 * DAY_MS
    assert full_at(space, SpaceLimits(minimumFree=50 * GIB), 10 * GIB, NOW) == NOW + 5 * DAY_MS


def test_a_destination_that_shrinks_or_is_unknown_is_never_full():
    space = PlaceSpace(total=TIB, free=100 * GIB)
    assert full_at(space, SpaceLimits(), -5, NOW) is None
    assert full_at(space, SpaceLimits(), None, NOW) is None
    assert full_at(PlaceSpace(), SpaceLimits(quota=5), 5, NOW) is None
    assert why_full(PlaceSpace(), SpaceLimits(quota=5, minimumFree=5)) == ""


def test_some_space_stays_free_where_no_limit_is_set():
    assert minimum_free(PlaceSpace(total=TIB, free=5), SpaceLimits()) == GIB
    assert minimum_free(PlaceSpace(total=10 * GIB, free=5), SpaceLimits()) == 10 * GIB // 100
    assert "must stay free" in why_full(PlaceSpace(total=TIB, free=GIB - 1), SpaceLimits())
    assert why_full(PlaceSpace(total=TIB, free=0), SpaceLimits(minimumFree=0)) == ""


def test_a_quota_counts_what_the_repository_holds():
    assert "its quota is 5 B" in why_full(PlaceSpace(held=5), SpaceLimits(quota=5))
    assert why_full(PlaceSpace(held=4), SpaceLimits(quota=5)) == ""


BYTES = st.integers(0, 1 << 50)


@given(
    st.integers(-(1 << 40), 1 << 40), BYTES, st.lists(st.integers(0, 1000), min_size=2, unique=True)
)
@settings(max_examples=300, deadline=None)
def test_a_straight_line_is_found_exactly_whatever_days_are_known(slope, start, days):
    assert growth([DayUse(day, start + slope * day) for day in days]) == slope


@given(BYTES, BYTES, BYTES, BYTES, BYTES)
@settings(max_examples=300, deadline=None)
def test_new_backups_wait_exactly_where_no_space_is_left(total, used, held, quota, least):
    space = PlaceSpace(total, max(0, total - used), held)
    limits = SpaceLimits(quota=quota, minimumFree=least)
    left = room(space, limits)
    assert left is not None
    # Exactly as much as must stay free is enough.
    is_at_least = space.free == least and held < quota
    assert bool(why_full(space, limits)) == (left <= 0 and not is_at_least)
