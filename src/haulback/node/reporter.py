"""Progress reports to the server, and the server's cancellations of running tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread

from haulback.errors import Conflict, HaulbackError, NotFound, Unauthenticated
from haulback.logs import members
from haulback.node.server_client import ServerClient
from haulback.node.state_dir import StateDir
from haulback.node.task_context import RunningTask

log = logging.getLogger(__name__)
_EVERY, _ALIVE_EVERY = 1.0, 10.0  # seconds


class Reporter(Thread):
    """Thread that reports every second, or five times per lease when leases are short."""

    def __init__(
        self,
        link: ServerClient,
        home: StateDir,
        work: Callable[[], list[RunningTask]],
        fence: Callable[[], None],
    ) -> None:
        super().__init__(name="reporter", daemon=True)
        self._link, self._home, self._work, self._fence = link, home, work, fence
        self._stop_now = Event()
        self._last: dict[str, tuple[float, int]] = {}
        self._alive_at = 0.0

    def run(self) -> None:
        while not self._stop_now.wait(min(_EVERY, self._link.lease / 5)):
            running = self._work()
            for work in running:
                if self._stop_now.is_set():
                    return
                self._guarded(lambda work=work: self._report(work))  # type: ignore[misc]
            attempts = {work.attempt for work in running}
            self._last = {k: v for k, v in self._last.items() if k in attempts}
            self._guarded(self._show_life)

    def stop(self) -> None:
        self._stop_now.set()
        self.join()

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Unauthenticated:
            self._fence()
        except HaulbackError as error:
            log.warning("a report to the server failed", extra=members(reason=error.message))
        except Exception:
            log.exception("a report to the server failed")

    def _report(self, work: RunningTask) -> None:
        try:
            if self._link.is_cancelled(work.attempt):
                work.progress.cancelled = True
            percent = (
                100.0 * work.progress.done / work.progress.total if work.progress.total else 0.0
            )
            if work.progress.counts_records:
                records = work.progress.records()
                self._link.records(work.attempt, {**records, "progress": min(percent, 99.0)})
            else:
                self._link.progress(work.attempt, min(percent, 99.0))
                self._tell_rate(work)
            lines = [work.progress.lines.popleft() for _ in range(len(work.progress.lines))]
            if lines:
                self._link.log(work.attempt, lines)
        except (Conflict, NotFound):
            # The report of a finished task is refused if the server knows its end.
            if not work.progress.is_done:
                work.progress.fence()

    def _tell_rate(self, work: RunningTask) -> None:
        now, done = time.monotonic(), work.progress.done
        before, count = self._last.get(work.attempt, (now, 0))
        self._last[work.attempt] = (now, done)
        if done != count and now > before:
            self._link.rate(work.attempt, round((done - count) / (now - before), 1), done)

    def _show_life(self) -> None:
        if time.monotonic() >= self._alive_at:
            self._alive_at = time.monotonic() + min(_ALIVE_EVERY, 10 * self._link.lease)
            self._link.alive(*self._home.space())
