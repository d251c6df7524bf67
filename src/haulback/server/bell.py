"""Waking the long polls of this server when there may be something to do."""

from __future__ import annotations

import asyncio
from threading import Lock


class Bell:
    """Rung from any thread, heard on any event loop."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.is_over = False

    def ring(self) -> None:
        """Wake everybody who listens now."""
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def end(self) -> None:
        """Send everybody home: the server stops."""
        self.is_over = True
        self.ring()

    def listen(self) -> asyncio.Event:
        """An event that the next ring sets; listen first, look then, wait last."""
        event = asyncio.Event()
        with self._lock:
            self._waiting.add((asyncio.get_running_loop(), event))
        return event

    def leave(self, event: asyncio.Event) -> None:
        """No longer wait."""
        with self._lock:
            self._waiting = {pair for pair in self._waiting if pair[1] is not event}
