"""Copies start in their daily window, also over midnight and across clock changes."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.copies import Copying
from haulback.policy.copy_window import next_opening

HOUR = 3_600_000
DAY = 24 * HOUR
NIGHT = Copying(startHour=22 * HOUR, endHour=6 * HOUR)


def at(hour: int, day: int = 1) -> int:
    return int(datetime(2026, 6, day, hour, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("hour", [22, 23, 0, 5])
def test_copies_start_at_once_within_a_window_over_midnight(hour):
    assert next_opening(NIGHT, at(hour)) is None


@pytest.mark.parametrize("hour", [6, 12, 21])
def test_copies_wait_for_the_evening_outside_of_the_window(hour):
    assert next_opening(NIGHT, at(hour)) == at(22)


def test_a_window_that_closed_today_opens_tomorrow():
    noon = Copying(startHour=12 * HOUR, endHour=13 * HOUR)
    assert next_opening(noon, at(14)) == at(12, day=2)


def test_a_destination_without_hours_is_always_open():
    assert next_opening(Copying(), at(3)) is None


def test_an_hour_that_clocks_skip_opens_when_clocks_are_put_forward():
    berlin = Copying(startHour=int(2.5 * HOUR), endHour=5 * HOUR, timeZone="Europe/Berlin")
    before = datetime(2026, 3, 29, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    opening = next_opening(berlin, int(before.timestamp() * 1000))
    assert opening == int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp() * 1000)


@given(
    st.integers(0, 1 << 41),
    st.integers(0, DAY - 1),
    st.integers(0, DAY - 1),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
def test_an_opening_is_ahead_and_within_two_days(now, start, end, zone):
    opening = next_opening(Copying(startHour=start, endHour=end, timeZone=zone), now)
    assert opening is None or now <= opening <= now + 2 * DAY
