"""The dispatcher: a thread that claims due messages, and a few threads that send them."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock, Thread

from haulback.errors import HaulbackError
from haulback.inventory.delivery import Delivery
from haulback.server.services import delivery
from haulback.server.services.app import App

_SENDERS = 4  # threads: a slow receiver delays at most three others
_AGAIN = 2.0  # seconds between two queries for due messages
log = logging.getLogger(__name__)


class DeliveryDispatcher:
    """Sends due messages, at most one of a channel at a time, so that an unreachable receiver
    delays its own channel only.
    """

    def __init__(self, app: App) -> None:
        self._core, self._signal, self._lock = app, Event(), Lock()
        self._busy: set[str] = set()
        self._over = False
        self._thread = Thread(target=self._run, name="notify", daemon=True)
        app.event_hub.next_step = self._signal.set

    def start(self) -> None:
        """Start the thread; senders start with their first message."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the threads; attempts under way end at their time limits, and their leases protect
        them.
        """
        self._over = True
        self._signal.set()
        self._thread.join()

    def _run(self) -> None:
        pool = ThreadPoolExecutor(_SENDERS, thread_name_prefix="sender")
        while not self._over:
            self._signal.wait(_AGAIN)
            self._signal.clear()
            try:
                self._hand_out(pool)
            except HaulbackError as error:
                log.warning("notifications: %s", error.message)
            except Exception:
                log.exception("notifications")
        pool.shutdown(wait=False, cancel_futures=True)

    def _hand_out(self, pool: ThreadPoolExecutor) -> None:
        while not self._over:
            with self._lock:
                busy = list(self._busy)
            free = _SENDERS - len(busy)
            claimed = delivery.claim(self._core, busy, free) if free > 0 else []
            if not claimed:
                return
            with self._lock:
                self._busy.update(taken.channel for taken in claimed)
            for taken in claimed:
                pool.submit(self._send, taken)

    def _send(self, taken: Delivery) -> None:
        try:
            delivery.attempt(self._core, taken)
        except Exception:
            log.exception("delivery %s", taken.guid)
        finally:
            with self._lock:
                self._busy.discard(taken.channel)
            self._signal.set()
