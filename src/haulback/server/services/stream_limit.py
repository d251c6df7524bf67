"""A limit of event streams: streams of one login must not occupy all connections of a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from haulback.errors import TooMany

# Event streams of one account, including its API tokens; a server has 2048 connections.
MOST_STREAMS = 256
_AGAIN = 15  # seconds after which the stream of a vanished client has ended


class StreamLimit:
    """The numbers of open streams by account, in this server process."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards `_open`: streams begin and end on any event loop
        self._open: Counter[str] = Counter()

    @contextmanager
    def counted(self, account: str) -> Iterator[None]:
        """Count a stream of an account while the stream is open.

        Raises TooMany if MOST_STREAMS streams are open.
        """
        with self._lock:
            if self._open[account] >= MOST_STREAMS:
                raise TooMany(
                    f"the login has {MOST_STREAMS} open event streams; close some, or use one "
                    "stream for several readers",
                    retryAfter=_AGAIN,
                )
            self._open[account] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[account] -= 1
                if not self._open[account]:
                    del self._open[account]
