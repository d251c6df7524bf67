"""Values that are kept for a short time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

_MOST = 64
K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The last values by key, each for some seconds; threads may share one object."""

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._kept: dict[K, tuple[float, V]] = {}
        # tasks in threads share one object
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """The value that was put under a key, None if it is too old."""
        with self._lock:
            begun, value = self._kept.get(key, (0.0, None))
            return value if self._clock() - begun < self._seconds else None

    def put(self, key: K, value: V) -> None:
        """Keep a value that was read just now."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (self._clock(), value)
            while len(self._kept) > _MOST:
                del self._kept[next(iter(self._kept))]
