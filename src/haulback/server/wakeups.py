"""Wake-ups, which end long polls when there may be work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from threading import Event, Lock
from typing import NamedTuple

from haulback.inventory.reach import is_group

_FIRST = 4  # nodes that are woken at once for a task that any of them may run


class Waiter(NamedTuple):
    """A long poll of a node, or of a user (with "")."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event
    node: str


class Wakeups:
    """Wake-ups from any thread to long polls on any event loop.

    With `news` other servers must be notified.
    """

    def __init__(self) -> None:
        # guards `_waiting` and `_more`; waiters are woken after the lock is released
        self._lock = Lock()
        self._waiting: set[Waiter] = set()
        self._more = False
        self.news = Event()
        self.is_over = False

    def ring(self) -> None:
        """Wake all long polls, on this server and on other servers."""
        self.news.set()
        self.ring_here()

    def ring_here(self) -> None:
        """Wake all long polls of this server."""
        with self._lock:
            self._more = False
            waiting, self._waiting = self._waiting, set()
        _wake(waiting)

    def ring_for(self, nodes: Iterable[str]) -> None:
        """Wake the nodes for new work; "" means work that any node may run.

        Some of the nodes that may run the work are woken now, the others by the next `ring_rest`.
        The members of a group are unknown here, so that its work wakes nodes like work for any
        node.
        """
        self.news.set()
        wanted = {"" if is_group(node) else node for node in nodes}
        with self._lock:
            chosen = {item for item in self._waiting if item.node in wanted}
            if "" in wanted:
                others = [item for item in self._waiting if item not in chosen]
                chosen.update(others[:_FIRST])
                self._more = True
            self._waiting -= chosen
        _wake(chosen)

    def ring_rest(self) -> None:
        """Wake the remaining nodes, because the nodes woken first may be at their limits."""
        if self._more:
            self.ring_here()

    def end(self) -> None:
        """End all long polls, because the server stops."""
        self.is_over = True
        self.ring()

    def listen(self, node: str = "") -> Waiter:
        """The event that the next wake-up sets; a caller listens first, then queries, then
        waits.
        """
        made = Waiter(asyncio.get_running_loop(), asyncio.Event(), node)
        with self._lock:
            self._waiting.add(made)
        return made

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiting long poll."""
        with self._lock:
            self._waiting.discard(waiter)


def _wake(waiting: Iterable[Waiter]) -> None:
    for one in waiting:
        if not one.loop.is_closed():
            one.loop.call_soon_threadsafe(one.event.set)
