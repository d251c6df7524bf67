"""The slow hash of passwords, in a separate thread, so that guesses do not delay other requests."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from haulback.errors import TooMany

T = TypeVar("T")
_THREADS = 1  # a hash needs 64 MiB and its own threads
_WAITING, _OF_A_PLACE = 8, 6  # callers that may wait for a hash, in all and from one address
_NICE = 4  # steps of priority below the threads that answer requests
_AGAIN = 2  # seconds after which a refused client may try again


class Hashing:
    """A queue of hashes; a caller that finds a full queue is refused."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "passwords", initializer=_step_back)
        # guards the count of waiting callers; no hash is computed under it
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()

    def run(self, work: Callable[[], T], place: str = "") -> T:
        """Run `work` after all earlier callers, and return its result.  Raises TooMany when too
        many wait.
        """
        with self._lock:
            if self._waiting.total() >= _WAITING or self._waiting[place] >= _OF_A_PLACE:
                raise TooMany(
                    f"too many passwords wait to be checked; try again in {_AGAIN} seconds",
                    retryAfter=_AGAIN,
                )
            self._waiting[place] += 1
        try:
            job: Future[T] = self._pool.submit(work)
            return job.result()
        finally:
            self._leave(place)

    def _leave(self, place: str) -> None:
        with self._lock:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place]


def _step_back() -> None:
    """Lower the priority of this thread; on Linux its child threads inherit the priority."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
