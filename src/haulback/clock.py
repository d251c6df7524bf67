"""Time as a value handed down: the only module that asks the operating system what time it is."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What code that needs the time is given."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go backwards, for rates and deadlines."""


class SystemClock:
    """The operating system's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyClock(SystemClock):
    """Wall time that runs evenly: a clock set forward or back is followed only by `adopt`.

    The server orders events and counts leases by it, so that nothing expires because somebody
    corrected the time.
    """

    def __init__(self) -> None:
        self._start = time.time_ns() // 1_000_000 - int(time.monotonic() * 1000)

    def now_ms(self) -> int:
        return self._start + int(time.monotonic() * 1000)

    def drift_ms(self) -> int:
        """How far the operating system's clock has been set ahead of this one."""
        return super().now_ms() - self.now_ms()

    def adopt(self) -> None:
        """Believe the operating system again."""
        self._start += self.drift_ms()
