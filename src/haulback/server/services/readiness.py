"""Readiness: the database can be read and written, and descriptors are left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Lock

from haulback.errors import HaulbackError, NotWritable, Unavailable
from haulback.server.store.engine import Store
from haulback.units import MIB, size

_FRESH = 1.0  # seconds for which a result of the check is reused
_REMEMBERED = 10.0  # seconds for which a failed write makes the server not ready
_SPARE = 16  # descriptors that must be left
_LEAST = 16 * MIB  # free bytes that an SQLite database's disk must have


class Readiness:
    """The readiness check, made at most once a second in one thread at a time."""

    def __init__(self, store: Store, now_ms: Callable[[], int], key: Callable[[], str]) -> None:
        """`key` returns the reason why the server key is unusable, "" for a usable key."""
        self._store, self._now_ms, self._key = store, now_ms, key
        # one thread checks; meanwhile the others answer with the last result
        self._looking = Lock()
        self._until = 0.0
        self._error: HaulbackError | None = None

    def check(self) -> None:
        """Raises Unavailable with the reason why the server cannot work."""
        if time.monotonic() >= self._until and self._looking.acquire(blocking=False):
            try:
                self._error = self._look()
                self._until = time.monotonic() + _FRESH
            finally:
                self._looking.release()
        if self._error is not None:
            raise self._error
        # The key is checked last, because reading the key needs descriptors and the database.
        if why := self._key():  # this check reads one file and one row
            raise Unavailable(why)

    def _look(self) -> HaulbackError | None:
        try:
            _check_descriptors()
            self._check_database()
        except HaulbackError as error:
            return error
        except OSError as error:
            return Unavailable(f"the server's data folder does not answer: {error.strerror}")
        return None

    def _check_database(self) -> None:
        with self._store.read() as sql:
            sql.exec_driver_sql("SELECT 1")
        free = self._store.free_bytes
        if free is not None and free < _LEAST:
            raise NotWritable(f"the disk of the database has {size(free)} left; free some space")
        self._store.beat(self._now_ms())
        failed = self._store.refused
        if failed is not None and time.monotonic() < failed[0] + _REMEMBERED:
            raise NotWritable(failed[1])


def _check_descriptors() -> None:
    """Raises Unavailable if the process can open hardly any more files or connections."""
    opened = []
    try:
        for _ in range(_SPARE):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise Unavailable(
            f"the server runs out of file descriptors: {error.strerror}; raise the limit "
            "of the server (ulimit -n)"
        ) from None
    finally:
        for item in opened:
            os.close(item)
