"""A copy passes no more bytes per second than its limit, and stops while it waits."""

from __future__ import annotations

import pytest

from haulback.errors import Cancelled
from haulback.work.support.rate_limit import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_bytes_take_the_time_that_the_limit_gives_them():
    clock, passed = Clock(), list[int]()
    limit = RateLimit(1000, passed.append, clock.wait, lambda: clock.now)
    for _ in range(10):
        limit(500)
    assert (sum(passed), clock.now) == (5000, 5.0)


def test_without_a_limit_no_byte_waits():
    clock = Clock()
    RateLimit(None, lambda _: None, clock.wait, lambda: clock.now)(1 << 40)
    assert clock.now == 0


def test_a_cancellation_ends_the_waiting():
    clock = Clock()

    def pass_on(_: int) -> None:
        if clock.now > 1:
            raise Cancelled("over")

    with pytest.raises(Cancelled):
        RateLimit(1, pass_on, clock.wait, lambda: clock.now)(3600)
    assert clock.now < 3
