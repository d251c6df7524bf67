"""The time of a store by its own clock, and the delay of its listings.

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

_GRAIN_MS = 2_000  # the coarsest time stamp of a file system, that of FAT
_ROUNDS = 20  # longest waits for a store whose clock is slower than this process's
log = logging.getLogger(__name__)
Wait = Callable[[float], object]  # pauses for some seconds; an error that it raises ends the work


class StoreTime:
    """The listing delay of a store and its clock, for work with the right to delete.

    `delay` is the number of seconds until a listing shows a write or a deletion.
    """

    def __init__(self, destination: ObjectStore, keys: Keys, delay: float, wait: Wait) -> None:
        self._destination, self._keys = destination, keys
        self._wait = wait
        self._delay_ms = round(delay * 1000)

    @property
    def lags(self) -> bool:
        """Whether listings may be older than their request."""
        return self._delay_ms > 0

    def require_times(self) -> None:
        """Check that the store reports times, if they are needed.  Raises Unsupported."""
        self.horizon()

    def horizon(self) -> int | None:
        """The time (epoch ms) up to which every listing shows all stored objects; None without a
        delay.

        Raises Unsupported for a store that reports no times.
        """
        return self._now() - self._delay_ms - _GRAIN_MS if self.lags else None

    def let_be_seen(self, name: str) -> None:
        """Wait until 2 listing delays after an object was stored, by the store's clock.

        A listing that begins then shows every object whose writer could not see this one.  Raises
        Unsupported.
        """
        if not self.lags:
            return
        until = self._stored(name) + 2 * self._delay_ms + _GRAIN_MS
        for _ in range(_ROUNDS):
            if (left := until - self._now()) <= 0:
                return
            log.info("waiting %d s until all lists of the store show %s", -(-left // 1000), name)
            self._wait(left / 1000)
        raise Unavailable(
            "the clock of the store does not advance: nothing was deleted; check the clock "
            "of the store"
        )

    def _now(self) -> int:
        """The time of a new object, which is an announcement without packs."""
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
                "the store does not report when an object was stored, and its lists may lag: "
                "nothing was deleted. Set listingDelay to 0 if the store promises lists without "
                "delay"
            )
        return stored


def require_known(delay: float | None) -> float:
    """The listing delay of a store.  Raises Unsupported if it is unknown."""
    if delay is None:
        raise Unsupported(
            "the listing delay of this store is unknown: nothing was deleted. Give the "
            "destination the setting listingDelay (seconds), as the store's documentation says"
        )
    return delay
