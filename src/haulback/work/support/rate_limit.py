"""A limit of bytes per second over the meter of an attempt."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP = 0.5  # seconds between two checks for a cancellation


class RateLimit:
    """A meter that lets at most `rate` bytes per second pass; None is no limit.

    `pass_on` receives every number of bytes, and raises if the attempt has ended.
    """

    def __init__(
        self,
        rate: int | None,
        pass_on: Callable[[int], None],
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._pass_on, self._wait, self._now = rate, pass_on, wait, now
        self._free_at = now()

    def __call__(self, count: int) -> None:
        """Count bytes, and wait until the limit allows further bytes."""
        self._pass_on(count)
        if not self._rate:
            return
        self._free_at = max(self._free_at, self._now()) + count / self._rate
        while (left := self._free_at - self._now()) > 0:
            self._wait(min(left, _STEP))
            self._pass_on(0)
