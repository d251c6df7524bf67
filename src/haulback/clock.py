"""Clocks that code takes as parameters; no other module reads the operating system's time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Time source passed to code that needs the time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""

    def monotonic(self) -> float:
        """Monotonic seconds for rates and deadlines; the zero point is arbitrary."""


class SystemClock:
    """Clocks of the operating system."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyClock(SystemClock):
    """Wall clock that ignores changes of the system time until `adopt` is called.

    The server orders events and counts leases by this clock, so that correcting the system time
    expires no lease.
    """

    def __init__(self) -> None:
        self._start = time.time_ns() // 1_000_000 - int(time.monotonic() * 1000)

    def now_ms(self) -> int:
        return self._start + int(time.monotonic() * 1000)

    def drift_ms(self) -> int:
        """Milliseconds by which the system clock is ahead of this clock; negative when behind."""
        return super().now_ms() - self.now_ms()

    def adopt(self) -> None:
        """Set this clock to the time of the system clock."""
        self._start += self.drift_ms()
