"""Expectations about future fires, computed from past fires."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median_low
from typing import NamedTuple

from haulback.policy.timetable import Due, Timetable, due_times


class FireLength(NamedTuple):
    """A past fire: ms from its beginning to the end of its last task, and to the start of its last
    task.
    """

    duration: int
    last_start: int


class ExpectedFire(NamedTuple):
    """An expected fire; `duration` is in ms; `duration`, `fits` and `overlaps` are None without
    history.

    `fits` is true if the last task is expected to start within the window.  `overlaps` is true if
    the fire is expected to last beyond the next due time of its schedule.
    """

    due: Due
    window_end: int
    duration: int | None
    fits: bool | None
    overlaps: bool | None


def expected_fires(
    table: Timetable, span: tuple[int, int], window: int, history: Sequence[FireLength]
) -> Iterator[ExpectedFire]:
    """The fires due later than `span[0]` and not later than `span[1]` (epoch ms), in order.

    The median of the history counts, so that a single unusual night changes nothing.
    """
    duration = median_low(length.duration for length in history) if history else None
    start = median_low(length.last_start for length in history) if history else None
    fits = None if start is None else start <= window
    before: Due | None = None
    for due in due_times(table, *span):
        if before:
            yield _expected(before, window, duration, fits, due.at)
        before = due
    if before:
        after = next(due_times(table, before.at, before.at + (duration or 0)), None)
        yield _expected(before, window, duration, fits, after.at if after else None)


def _expected(
    due: Due, window: int, duration: int | None, fits: bool | None, following: int | None
) -> ExpectedFire:
    overlaps = None
    if duration is not None:
        overlaps = following is not None and due.at + duration > following
    return ExpectedFire(due, due.at + window, duration, fits, overlaps)
