"""Waking long polls when there may be something to do for them, and no others without need."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from threading import Event, Lock
from typing import NamedTuple

_FIRST = 4  # how many of those that could all do something new are woken for it at once


class Waiter(NamedTuple):
    """A long poll of a node, or of a user ("")."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event
    node: str


class Wakeups:
    """Rung from any thread, heard on any event loop.  `news`: other servers should hear of it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: set[Waiter] = set()
        self._more = False
        self.news = Event()
        self.is_over = False

    def ring(self) -> None:
        """Wake everybody who listens now, here and on other servers."""
        self.news.set()
        self.ring_here()

    def ring_here(self) -> None:
        """Wake everybody who listens to this server."""
        with self._lock:
            self._more = False
            waiting, self._waiting = self._waiting, set()
        _wake(waiting)

    def ring_for(self, nodes: Iterable[str]) -> None:
        """Wake the nodes that something new is for; "" is work that any node may do.

        Of those who may, some are woken now, and the rest with the next `ring_rest`.
        """
        self.news.set()
        wanted = set(nodes)
        with self._lock:
            chosen = {item for item in self._waiting if item.node in wanted}
            if "" in wanted:
                others = [item for item in self._waiting if item not in chosen]
                chosen.update(others[:_FIRST])
                self._more = True
            self._waiting -= chosen
        _wake(chosen)

    def ring_rest(self) -> None:
        """Wake the nodes that were passed over: those woken first may have had no room."""
        if self._more:
            self.ring_here()

    def end(self) -> None:
        """Send everybody home: the server stops."""
        self.is_over = True
        self.ring()

    def listen(self, node: str = "") -> Waiter:
        """The event that the next ring sets; listen first, look then, wait last."""
        made = Waiter(asyncio.get_running_loop(), asyncio.Event(), node)
        with self._lock:
            self._waiting.add(made)
        return made

    def leave(self, waiter: Waiter) -> None:
        """No longer wait."""
        with self._lock:
            self._waiting.discard(waiter)


def _wake(waiting: Iterable[Waiter]) -> None:
    for one in waiting:
        if not one.loop.is_closed():
            one.loop.call_soon_threadsafe(one.event.set)
