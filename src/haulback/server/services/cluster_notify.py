"""Notifications between the servers on one PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from threading import Event, Thread

from haulback.errors import HaulbackError
from haulback.server.services.app import App

_TOGETHER = 0.1  # seconds between two notifications, because a notification delays other commits
_AGAIN = 2.0  # seconds between two attempts to connect
log = logging.getLogger(__name__)


class ClusterNotifier:
    """Two threads that send and receive notifications; SQLite has one server and needs none."""

    def __init__(self, app: App) -> None:
        self._core, self._over = app, Event()
        self._threads: list[Thread] = []
        if not app.store.is_sqlite:
            for work, name in ((self._tell, "herald"), (self._listen, "listener")):
                self._threads.append(Thread(target=work, name=name, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        self._core.wakeups.news.set()
        for thread in self._threads:
            thread.join()

    def _tell(self) -> None:
        wakeups = self._core.wakeups
        while not self._over.is_set():
            wakeups.news.wait()
            wakeups.news.clear()
            try:
                self._core.store.notify()
            except HaulbackError as error:
                log.warning("other servers cannot be notified: %s", error.message)
            self._over.wait(_TOGETHER)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                self._hear(self._core.store.heard())
            except HaulbackError as error:
                log.warning("notifications of other servers cannot be received: %s", error.message)
                self._over.wait(_AGAIN)

    def _hear(self, news: Iterable[bool]) -> None:
        for is_news in news:
            if self._over.is_set():
                return
            if is_news:
                self._core.wakeups.ring_here()
                self._core.event_hub.look()
