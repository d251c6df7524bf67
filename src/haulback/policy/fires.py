"""Fires: the due time of a schedule that runs now, and the due times that were missed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from haulback.policy.timetable import Due, Timetable, due_times, next_due

LISTED = 100  # missed due times that are recorded after one absence of the server
_READ = 5_000  # due times that are computed one by one
_RECENT_MS = 3 * 86_400_000  # the period in which due times are computed if an absence has more


class DueNow(NamedTuple):
    """The due time that runs now, or None, and the newest missed due times, in order."""

    runs: Due | None
    missed: list[Due]

    @property
    def newest(self) -> Due | None:
        """The last due time that has passed."""
        return self.runs or (self.missed[-1] if self.missed else None)


def due_now(table: Timetable, after: int, now: int, window: int) -> DueNow:
    """Decide on the due times later than `after` and not later than `now` (epoch ms).

    The newest runs if its window of `window` ms is still open; all earlier due times are missed.
    """
    passed = list(islice(due_times(table, after, now), _READ))
    if len(passed) == _READ:
        recent = due_times(table, max(after, now - _RECENT_MS), now)
        passed = list(deque(recent, LISTED)) or passed
    passed = passed[-LISTED:]
    if passed and now < passed[-1].at + window:
        return DueNow(passed[-1], passed[:-1])
    return DueNow(None, passed)


def following(table: Timetable, after: int, has_fired: Callable[[Due], bool]) -> Due | None:
    """The first due time after `after` that has not fired; None if the timetable has ended.

    A change of time zone data, or a clock that was set back, may repeat a nominal time.
    """
    due = next_due(table, after)
    while due and has_fired(due):
        due = next_due(table, due.at)
    return due
