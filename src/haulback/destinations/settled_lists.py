"""Lists of a store whose lists lag: a list waits until it shows the writes of its process.

A STORE lists the announcements after its manifest is stored, a clean-up lists manifests after its
announcement is stored. Each list must show the other's earlier object: otherwise the clean-up
deletes chunks of the new backup (docs/design/locking.md). With this wait at least
one of the two does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from haulback.clock import Clock, SystemClock
from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, ObjectStore
from haulback.errors import NotFound


class SettledLists(PassThrough):
    """A store whose lists show a write or a deletion after at most `delay` seconds.

    A list waits `delay` seconds from the opening of this store, from its own last write, and from
    the last name that was not found: a list that showed this name would show the name again.
    """

    def __init__(
        self,
        destination: ObjectStore,
        delay: float,
        clock: Clock | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(destination)
        self._delay, self._clock, self._wait = delay, clock or SystemClock(), wait
        self._settled = self._clock.monotonic() + delay

    def store(self, name: str, data: bytes) -> None:
        with self._writing():
            super().store(name, data)

    def adopt(self, name: str, path: Path) -> None:
        with self._writing():
            super().adopt(name, path)

    def delete(self, name: str) -> None:
        with self._writing():
            super().delete(name)

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._finding():
            return super().load(name, offset, length)

    def info(self, name: str) -> Item:
        with self._finding():
            return super().info(name)

    def list(self, prefix: str) -> Iterator[Item]:
        self._settle()
        return super().list(prefix)

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        self._settle()
        return super().entries(folder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A failed write counts too: its reply may be lost although the store has the object."""
        try:
            yield
        finally:
            self._unsettle()

    @contextmanager
    def _finding(self) -> Iterator[None]:
        try:
            yield
        except NotFound:
            self._unsettle()
            raise

    def _unsettle(self) -> None:
        self._settled = self._clock.monotonic() + self._delay

    def _settle(self) -> None:
        remaining = self._settled - self._clock.monotonic()
        if remaining > 0:
            self._wait(remaining)
