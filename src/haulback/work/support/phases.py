"""Phases of the work of a task, which its log lists with their durations and bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from haulback import units
from haulback.work.context import TaskContext


class Phase:
    """A running phase: `moved` is the number of bytes of the phase (None: the line shows no bytes),
    `result` is a text.
    """

    def __init__(self) -> None:
        self.moved: int | None = None
        self.result = ""

    def counting(self, meter: Callable[[int], None]) -> Callable[[int], None]:
        """A meter of bytes that adds to the bytes of the phase too."""
        self.moved = 0

        def count(more: int) -> None:
            self.moved = (self.moved or 0) + more
            meter(more)

        return count


@contextmanager
def phase(context: TaskContext, step: str) -> Iterator[Phase]:
    """Log a phase at its end, as `step` `in 3.2s: 1 GiB at 320 MiB/s; result`.

    An error inside ends the phase with a line that contains its duration.
    """
    running, begun = Phase(), time.monotonic()
    try:
        yield running
    except BaseException:
        took = units.duration(time.monotonic() - begun)
        context.log(f"not finished after {took}: {step}")
        raise
    context.log(_line(step, running, time.monotonic() - begun))


def _line(step: str, ended: Phase, seconds: float) -> str:
    text = f"{step} in {units.duration(seconds)}"
    parts = []
    if ended.moved is not None:
        rate = f" at {units.rate(ended.moved / seconds)}" if ended.moved and seconds > 0.01 else ""
        parts.append(f"{units.size(ended.moved)}{rate}")
    if ended.result:
        parts.append(ended.result)
    return f"{text}: {'; '.join(parts)}" if parts else text
