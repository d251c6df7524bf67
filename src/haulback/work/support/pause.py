"""A pause that ends with the attempt, and that the log of the task mentions."""

from __future__ import annotations

import time
from collections.abc import Callable

from haulback.work.context import TaskContext

_STEP = 1.0  # seconds between two checks for a cancellation


def pause(
    context: TaskContext, seconds: float, reason: str, is_over: Callable[[], bool] = lambda: False
) -> None:
    """Wait for `seconds`, or until `is_over`.  Raises Cancelled or Fenced if the attempt ends
    meanwhile.
    """
    context.log(f"waiting {round(seconds)} s: {reason}")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not is_over():
        context.progress.meter(0)
        time.sleep(min(left, _STEP))
