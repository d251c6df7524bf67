"""Transfers keep to the rate for the time of day."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.destination_types import TIMETABLE
from haulback.destinations.bandwidth import RateTable, Throttle
from haulback.testing.memory_store import ManualClock
from haulback.units import KIB, MIB


@pytest.mark.parametrize(
    ("text", "minute", "rate"),
    [
        ("", 0, None),
        ("10M", 700, 10 * MIB),
        ("off", 700, None),
        ("08:00,2M 19:00,off", 8 * 60, 2 * MIB),
        ("08:00,2M 19:00,off", 19 * 60, None),
        ("08:00,2M 19:00,512K", 7 * 60 + 59, 512 * KIB),
        ("19:00,512K 08:00,2M", 0, 512 * KIB),
        ("08:00,2M 08:00,off 08:00,3M", 8 * 60, 3 * MIB),
    ],
)
def test_a_table_gives_the_rate_of_a_minute(text, minute, rate):
    assert RateTable(text).rate(minute) == rate


class Evening(ManualClock):
    def now_ms(self) -> int:
        return int(datetime(2026, 5, 4, 20, 0).timestamp() * 1000)


@given(st.lists(st.integers(1, 64 * MIB), min_size=2, max_size=20))
def test_transfers_together_keep_to_the_rate(sizes):
    clock = Evening()
    throttle = Throttle(RateTable("08:00,off 19:00,1M"), clock, clock.wait)
    for size in sizes:
        throttle.take(size)
    assert clock.seconds == pytest.approx(sum(sizes[:-1]) / MIB)


def test_a_time_without_a_limit_waits_for_nothing():
    throttle = Throttle(RateTable("08:00,off 19:00,off"), Evening(), time.sleep)
    throttle.take(1 << 40)


@pytest.mark.parametrize(
    "text", ["fast", "10", "10m", "0M", "8:00,1M", "24:00,1M", "08:60,1M", "08:00,1M,", "1M 2M", ""]
)
def test_the_declared_form_refuses_other_texts(text):
    assert not re.search(TIMETABLE, text)
