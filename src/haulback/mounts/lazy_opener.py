"""A resource that is opened once: its readers share the result, and for a while the error."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from haulback.errors import HaulbackError
from haulback.retry import Backoff

T = TypeVar("T")
# A machine runs from a mount: a location that answers again must serve the machine soon.
_AGAIN = Backoff(pause=2.0, factor=2.0, longest=60.0)


class LazyOpener(Generic[T]):
    """Calls `open_place` for the first reader, and after an error again at growing intervals.

    `seconds` is a clock that never goes back.
    """

    def __init__(
        self, open_place: Callable[[], T], seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._open, self._seconds = open_place, seconds
        self._opened: list[T] = []  # empty until the resource is open
        self._failed: HaulbackError | None = None
        self._pauses, self._again = _AGAIN.pauses(), 0.0
        # Held while the resource is opened, because other threads need the same resource.
        self._lock = Lock()

    def __call__(self) -> T:
        """The opened resource.  Raises the error of its last opening."""
        with self._lock:
            if self._opened:
                return self._opened[0]
            if self._failed and self._seconds() < self._again:
                # Without its old traceback: each raise would add frames to the kept error.
                raise self._failed.with_traceback(None)
            try:
                self._opened.append(self._open())
            except HaulbackError as error:
                self._failed, self._again = error, self._seconds() + next(self._pauses)
                raise
            self._failed = None
            return self._opened[0]
