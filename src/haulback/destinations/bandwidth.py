"""Bandwidth of a destination by time of day, shared by all tasks of a process that use it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import NamedTuple

from haulback.clock import Clock, SystemClock

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_CLOCK = SystemClock()


class _Period(NamedTuple):
    """A rate in bytes per second, None for no limit, which applies from a minute of the day on."""

    minute: int
    rate: int | None


class RateTable:
    """Rates by local time of day, such as `10M` or `08:00,2M 19:00,off`.

    The form is that of `contract.destination_types.TIMETABLE`; an empty text sets no limit.  Of
    several rates for one time, which earlier versions accepted, the last one applies.
    """

    def __init__(self, text: str) -> None:
        self._periods = sorted(map(_period, text.split()), key=lambda period: period.minute)

    def rate(self, minute: int) -> int | None:
        """Bytes a second at a minute of the day; None without a limit."""
        before = [period for period in self._periods if period.minute <= minute]
        # before the first time of a day the last rate of the previous day applies
        current = before or self._periods
        return current[-1].rate if current else None


class Throttle:
    """Spaces transfers so that together they keep to the timetable.

    `wait` pauses for some seconds.  Threads may share a throttle.
    """

    def __init__(
        self,
        timetable: RateTable,
        clock: Clock = _CLOCK,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._timetable, self._clock, self._wait = timetable, clock, wait
        self._free, self._lock = 0.0, Lock()

    def take(self, count: int) -> None:
        """Wait until a transfer of `count` bytes may begin."""
        with self._lock:
            rate = self._timetable.rate(_minute(self._clock))
            if rate is None:
                return
            now = self._clock.monotonic()
            start = max(now, self._free)
            self._free = start + count / rate
        if start > now:
            self._wait(start - now)


def _period(text: str) -> _Period:
    clock, _, rate = text.rpartition(",")
    hours, _, minutes = clock.partition(":")
    return _Period(int(hours or 0) * 60 + int(minutes or 0), _rate(rate))


def _rate(text: str) -> int | None:
    return None if text == "off" else int(text[:-1]) * _UNITS[text[-1]]


def _minute(clock: Clock) -> int:
    local = datetime.fromtimestamp(clock.now_ms() / 1000).astimezone()
    return local.hour * 60 + local.minute
