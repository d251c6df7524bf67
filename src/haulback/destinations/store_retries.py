"""Retries on a remote store, whose replies may be lost after the operation succeeded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from haulback.clock import Clock, SystemClock
from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, ObjectStore, list_many
from haulback.errors import Conflict
from haulback.retry import Backoff, Wait, is_retryable, retry

T = TypeVar("T")
Tell = Callable[[str], None]
_CLOCK = SystemClock()
_TOLD_EVERY = 60.0  # seconds between two lines about repeated requests
# A store may accept connections and answer nothing: each request then ends only after the time-out
# of its settings, and eight of them would take more than an hour without `seconds`.  The time
# counts from the first failure, because a call may first wait long for its share of the bandwidth.
BACKOFF = Backoff(pause=0.5, factor=2.0, longest=30.0, attempts=8, seconds=900.0, from_failure=True)


def silent(text: str) -> None:
    """Tell no reader."""


class Retrying(PassThrough):
    """A store whose operations are repeated while it does not answer.

    `sweep` is not repeated: the next clean-up sweeps again, and a store that is down must not delay
    the others. `wait` pauses for some seconds; a true result ends the retries. `tell` gets the
    reason of a repetition, once a minute. Raises the error of the last attempt.
    """

    def __init__(
        self,
        destination: ObjectStore,
        backoff: Backoff = BACKOFF,
        wait: Wait = time.sleep,
        clock: Clock = _CLOCK,
        tell: Tell = silent,
    ) -> None:
        super().__init__(destination)
        self._backoff, self._wait, self._clock, self._tell = backoff, wait, clock, tell
        self._told: float | None = None

    def store(self, name: str, data: bytes) -> None:
        """Store an object; if equal bytes have the name, the reply was lost and the object is
        stored.

        The client library of a store may also repeat a request, so the bytes are compared after
        each Conflict. Competing writers never store equal bytes, because a sealed object contains a
        random nonce.
        """
        try:
            self._again(lambda: self._destination.store(name, data))
        except Conflict:
            if self.load(name) != data:
                raise

    def adopt(self, name: str, path: Path) -> None:
        # A repeated adopt succeeds if the content is equal; the file is removed only after a
        # success.
        self._again(lambda: self._destination.adopt(name, path))

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._again(lambda: self._destination.load(name, offset, length))

    def info(self, name: str) -> Item:
        return self._again(lambda: self._destination.info(name))

    def list(self, prefix: str) -> Iterator[Item]:
        # A listing that breaks off starts again, because half of it must not look complete.
        return iter(self._again(lambda: [*self._destination.list(prefix)]))

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        return iter(self._again(lambda: [*list_many(self._destination, folders)]))

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        return iter(self._again(lambda: [*self._destination.entries(folder)]))

    def delete(self, name: str) -> None:
        self._again(lambda: self._destination.delete(name))

    def _again(self, call: Callable[[], T]) -> T:
        errors: list[Exception] = []

        def is_repeated(error: Exception) -> bool:
            errors.append(error)
            return is_retryable(error)

        def pause(seconds: float) -> object:
            self._tell_repetition(errors[-1])
            return self._wait(seconds)

        return retry(call, self._backoff, is_repeated, pause, self._clock)

    def _tell_repetition(self, error: Exception) -> None:
        now = self._clock.monotonic()
        if self._told is None or now - self._told >= _TOLD_EVERY:
            self._told = now
            self._tell(f"{error}; the request is repeated")
