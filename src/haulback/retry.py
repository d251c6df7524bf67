"""Retries: the errors that cause a retry, the number of calls, the total time and the pauses."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from haulback.clock import Clock, SystemClock
from haulback.errors import HaulbackError

T = TypeVar("T")
Wait = Callable[[float], object]  # waits for that many seconds; a true result ends the retries
_CLOCK = SystemClock()
_LONGEST_ASKED = 300.0  # seconds; the longest pause that the other side may request


@dataclass(frozen=True)
class Backoff:
    """Limits of the retries of one call; all times are seconds.

    `pause` precedes the second call, each later pause is `factor` times as long but at most
    `longest`. `attempts` is the number of calls, including the first. No call begins later than
    `seconds` after the first call began, or, with `from_failure`, after the first call failed. None
    means no limit.
    """

    pause: float
    factor: float = 1.0
    longest: float = 60.0
    attempts: int | None = None
    seconds: float | None = None
    from_failure: bool = False

    def pauses(self) -> Iterator[float]:
        """Pauses between the calls, in seconds; endless without a limit of attempts."""
        grown = itertools.accumulate(
            itertools.repeat(self.factor), self._next, initial=min(self.pause, self.longest)
        )
        return itertools.islice(grown, self.attempts and self.attempts - 1)

    def _next(self, pause: float, factor: float) -> float:
        return min(pause * factor, self.longest)


def is_retryable(error: Exception) -> bool:
    """Whether an error is declared as temporary."""
    return isinstance(error, HaulbackError) and error.retryable


def retry(
    call: Callable[[], T],
    backoff: Backoff,
    again: Callable[[Exception], bool] = is_retryable,
    wait: Wait = time.sleep,
    clock: Clock = _CLOCK,
) -> T:
    """Return the result of the first call that succeeds.

    `again` is called with the error of each call but the last of `backoff.attempts`, and may log
    it.  A longer `retryAfter` (seconds) in the details of an error replaces the pause.  Raises the
    error of the last call if `again` returns false, if the time or the attempts are used up, or if
    `wait` returns a true value, as `Event.wait` of a stop event does.
    """
    began = None if backoff.from_failure else clock.monotonic()
    for pause in backoff.pauses():
        try:
            return call()
        except Exception as error:
            began = clock.monotonic() if began is None else began
            if not again(error) or _is_late(backoff, clock.monotonic() - began + pause):
                raise
            if wait(max(pause, _requested_pause(error))):
                raise
    return call()


def _requested_pause(error: Exception) -> float:
    """The pause in seconds that the other side requested, as in Retry-After; 0 without a
    request.
    """
    details = error.details if isinstance(error, HaulbackError) else {}
    asked = details.get("retryAfter", 0)
    return min(float(asked), _LONGEST_ASKED) if isinstance(asked, int | float) else 0.0


def _is_late(backoff: Backoff, elapsed: float) -> bool:
    return backoff.seconds is not None and elapsed > backoff.seconds
