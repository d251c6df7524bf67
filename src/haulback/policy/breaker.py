"""The breaker of a destination: the rule when it opens, and when the destination is tested again.

Three tasks that fail within 15 minutes because a destination does not answer open its breaker.
While it is open, tasks for the destination wait, and a test is made after 1, 2, 4, 8 and then
every 15 minutes.  A test that succeeds closes the breaker on probation: one further failure
within 15 minutes opens it again, with a longer wait than before.
"""

from __future__ import annotations

from typing import NamedTuple

FAILURES = 3  # failures that open a breaker
WITHIN_MS = 900_000  # ms in which the failures count, and the length of the probation
FIRST_PAUSE_MS = 60_000
LONGEST_PAUSE_MS = 900_000


class Breaker(NamedTuple):
    """Failures of a destination and its next test; times in epoch ms.

    `failures` counts the failures since `since`; `opened` and `next_try` are None while the breaker
    is closed. `pause` is the length of the last wait in ms, 0 before the first; `reason` the last
    failure.
    """

    failures: int = 0
    since: int = 0
    opened: int | None = None
    next_try: int | None = None
    pause: int = 0
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether tasks for the destination wait."""
        return self.opened is not None


def failed(before: Breaker, now: int, reason: str, *, is_test: bool) -> Breaker:
    """The breaker after a task failed to reach its destination.

    `is_test` is true if the task is the test of an open breaker.  Other tasks began before the
    breaker opened, so that their failures do not count.
    """
    if before.is_open:
        return _waiting(before._replace(reason=reason), now) if is_test else before
    is_recent = before.failures > 0 and 0 <= now - before.since <= WITHIN_MS
    counted = before if is_recent else Breaker(since=now)
    counted = counted._replace(failures=counted.failures + 1, reason=reason)
    if counted.failures < FAILURES:
        return counted
    return _waiting(counted._replace(opened=now), now)


def tested(before: Breaker, now: int) -> Breaker:
    """The breaker after a successful test: closed, and on probation if it was open."""
    if not before.is_open:
        return before
    return before._replace(failures=FAILURES - 1, since=now, opened=None, next_try=None)


def _waiting(breaker: Breaker, now: int) -> Breaker:
    pause = min(2 * breaker.pause or FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
    return breaker._replace(pause=pause, next_try=now + pause)


def is_due(next_try: int, now: int) -> bool:
    """Whether a test is due; a time far in the future was set before the clock was set back."""
    return not now < next_try <= now + LONGEST_PAUSE_MS
