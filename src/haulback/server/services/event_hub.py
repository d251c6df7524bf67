"""The event hub of a server process: one thread reads new events for any number of readers.

A reader keeps the number of its last event and takes the following events from memory; a reader
that lags behind reads pages from the database.  Thus no reader needs a queue.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from threading import Event, Lock, Thread
from typing import NamedTuple

from haulback.contract.events import EventRecord
from haulback.errors import HaulbackError
from haulback.server.queries import EventQuery
from haulback.server.services.event_numbers import number_new
from haulback.server.services.stream_limit import StreamLimit
from haulback.server.store import events
from haulback.server.store.engine import Store
from haulback.server.wakeups import Wakeups
from haulback.wire import dump

_IN_MEMORY = 512  # events
# Seconds between two reads without a signal, because a server may die before it signals.
_AGAIN = 2.0
# Seconds between two rounds: the first event after a pause is read at once, and the events of the
# following tasks together, because each round takes a write transaction.
_TOGETHER = 0.05
log = logging.getLogger(__name__)


class HubEntry(NamedTuple):
    """An event, and its block of a server-sent stream."""

    event: EventRecord
    block: bytes


class EventHub:
    """The newest events, and the signals to readers of streams.

    `readers` wakes readers after new events; `next_step` is called after new events; `streams`
    counts the open streams.
    """

    def __init__(self, store: Store, now: Callable[[], int], tell: Callable[[], None]) -> None:
        """`now` returns epoch ms; `tell` informs the other servers that there are new events."""
        self.readers, self.streams = Wakeups(), StreamLimit()
        self.next_step: Callable[[], None] = lambda: None
        self._store, self._now, self._tell = store, now, tell
        # `_turn` lets one thread number and read events; `_lock` guards `_newest` and `_head`.
        # Order: `_turn` first, and no query of the database under `_lock`.
        self._turn, self._lock, self._signal, self._over = Lock(), Lock(), Event(), Event()
        self._newest: deque[HubEntry] = deque(maxlen=_IN_MEMORY)
        self._head: int | None = None
        store.on_events = self._committed

    @property
    def head(self) -> int:
        """The number of the newest event that the thread has read."""
        return self._head or 0

    def look(self) -> None:
        """Make the thread read new events."""
        self._signal.set()

    def advance(self) -> None:
        """Number new events, read them, and wake the readers."""
        with self._turn:
            for numbered in number_new(self._store, self._now()):
                if self._head is not None and numbered and numbered[0].number == self._head + 1:
                    self._keep(numbered)  # no other server has numbered events meanwhile
            while self._read():
                pass

    def after(self, number: int) -> list[HubEntry] | None:
        """The events after a number; None if memory no longer holds them."""
        with self._lock:
            missing = self.head - number
            if missing <= 0:
                return []
            if missing > len(self._newest):
                return None
            return list(islice(self._newest, len(self._newest) - missing, None))

    def end(self) -> None:
        """End all streams, because the server stops."""
        self.readers.end()
        self._over.set()
        self._signal.set()

    def _committed(self) -> None:
        self._signal.set()
        self._tell()

    def _read(self) -> bool:
        with self._store.read() as sql:
            if self._head is None:
                self._head = events.head(sql)
                return False
            fresh = events.page(sql, EventQuery(after=self._head, size=_IN_MEMORY))
        if fresh:
            self._keep(fresh)
        return len(fresh) == _IN_MEMORY

    def _keep(self, fresh: Sequence[EventRecord]) -> None:
        """Add the events that follow the newest event in memory, and wake the readers."""
        entries = [HubEntry(event, block(event)) for event in fresh]
        with self._lock:
            self._newest.extend(entries)
            self._head = fresh[-1].number
        self.readers.ring_here()
        self.next_step()

    def _run(self) -> None:
        while not self._over.is_set():
            self._signal.wait(_AGAIN)
            self._signal.clear()
            try:
                self.advance()
            except HaulbackError as error:
                log.warning("events: %s", error.message)
                self._signal.wait(_AGAIN)
            except Exception:
                log.exception("events")
            self._over.wait(_TOGETHER)

    def start(self) -> None:
        """Start the thread."""
        self._thread = Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all streams and the thread."""
        self.end()
        self._thread.join()


def block(event: EventRecord) -> bytes:
    """An event as a block of a server-sent stream."""
    head = f"id: {event.number}\nevent: {event.kind.name}\ndata: ".encode()
    return head + dump(event) + b"\n\n"
