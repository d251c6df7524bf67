"""The time of a store by its own clock, and the delay of its lists.

docs/design/locking.md ("Lists that lag") explains where a clean-up waits, and for how long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Unavailable, Unsupported
from haulback.repository import pending_deletes
from haulback.repository.keys import Keys

_GRAIN_MS = 2_000  # the coarsest time of a file system, FAT's
_ROUNDS = 20  # waits for a store whose clock is slower than this process's
log = logging.getLogger(__name__)
Wait = Callable[[float], object]  # pauses for seconds; an error ends the work


class StoreTime:
    """The listing delay of a store and its clock, for work with the right to delete.

    `delay` is the number of seconds until a list shows a write or a deletion.
    """

    def __init__(self, destination: ObjectStore, keys: Keys, delay: float, wait: Wait) -> None:
        self._destination, self._keys = destination, keys
        self._wait = wait
        self._delay_ms = round(delay * 1000)

    @property
    def lags(self) -> bool:
        """Whether lists may be older than their request."""
        return self._delay_ms > 0

    def require_times(self) -> None:
        """Check that the store tells times, where they are needed.  Raises Unsupported."""
        self.horizon()

    def horizon(self) -> int | None:
        """The time (epoch ms) up to which every list shows what was stored; None without a delay.

        Raises Unsupported for a store that does not tell times.
        """
        return self._now() - self._delay_ms - _GRAIN_MS if self.lags else None

    def let_be_seen(self, name: str) -> None:
        """Wait until 2 listing delays after an object was stored, by the store's clock.

        A list that begins then shows every object whose writer could not see this one.  Raises
        Unsupported.
        """
        if not self.lags:
            return
        until = self._stored(name) + 2 * self._delay_ms + _GRAIN_MS
        for _ in range(_ROUNDS):
            if (left := until - self._now()) <= 0:
                return
            log.info("waiting %d s until every list shows %s", -(-left // 1000), name)
            self._wait(left / 1000)
        raise Unavailable("the clock of the store stands still: nothing was deleted")

    def _now(self) -> int:
        """The time of a fresh object; the object is an announcement that names no pack."""
        with self._fresh() as name:
            return self._stored(name)

    @contextmanager
    def _fresh(self) -> Iterator[str]:
        name = pending_deletes.add(self._destination, self._keys, (), None)
        try:
            yield name
        finally:
            self._destination.delete(name)

    def _stored(self, name: str) -> int:
        stored = self._destination.info(name).stored
        if stored is None:
            raise Unsupported(
                "the store does not tell when an object was stored, and its lists may lag: nothing "
                "was deleted. Set listingDelay to 0 if the store promises lists without delay"
            )
        return stored


def require_known(delay: float | None) -> float:
    """The listing delay of a store.  Raises Unsupported where it is unknown."""
    if delay is None:
        raise Unsupported(
            "nobody knows how far the lists of this store lag: nothing was deleted. Give the "
            "destination the setting listingDelay (seconds), as the store's documentation says"
        )
    return delay
