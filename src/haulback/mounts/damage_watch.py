"""Damage that the readers of a mount find: recorded in the repositories, and reported to the
node.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

import msgspec

from haulback.contract.damage import MOST_REPORTS, DamageReport
from haulback.repository.reported_damage import ReadBackups, report_damage
from haulback.repository.repository import Repository
from haulback.retry import Backoff

DAMAGE = "damage"  # file in the run folder of a mount: a list of DamageReport
_MS = 1_000_000  # nanoseconds of a millisecond
_LOOK_EVERY = 2.0  # seconds between two checks
# A report reads the damaged places and the map of the backup, in the process that serves the disks.
_REST = 60.0  # seconds between two reports of a location
_TELL_AGAIN_MS = 600_000  # damage that is found again after this time is a new finding
_AFTER_ERROR = Backoff(pause=2.0, factor=2.0, longest=600.0)
_LAST_LOOK = 5.0  # seconds that the end of a mount waits for its last check
log = logging.getLogger(__name__)


class WatchedLocation(NamedTuple):
    """An opened repository of a destination, with its location of the mounted backup."""

    destination: str
    repository: Repository
    backup: str


@dataclass
class _Watched:
    """A location and its report; `again` is the time (s) of the next check of the location.

    `is_missed` is true if the manifest could not be read; `is_new` is true if no check has read the
    manifest since.
    """

    place: WatchedLocation
    is_missed: bool = False
    is_new: bool = False
    report: DamageReport | None = None
    again: float = 0.0
    pauses: Iterator[float] = field(default_factory=_AFTER_ERROR.pauses)

    @property
    def has_new(self) -> bool:
        return self.is_new or len(self.place.repository.findings) > 0


class DamageWatch:
    """The locations that a mount reads, each with its newest report.

    `look` records the places that their readers could not read, and writes the reports to the file
    `path`.
    `seconds` is a clock that never goes back, `now_ms` gives epoch ms.
    """

    def __init__(
        self,
        mount: str,
        path: Path,
        seconds: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // _MS,
    ) -> None:
        self._by, self._path = f"MOUNT {mount}", path
        self._seconds, self._now_ms = seconds, now_ms
        self._watched: dict[tuple[str, str], _Watched] = {}  # keys: destination and backup
        self._is_unwritten = False  # the file lacks a report
        self._lock = Lock()  # guards the table: locations are opened by threads of readers

    def reads(self, place: WatchedLocation) -> None:
        """Watch a location that was opened."""
        with self._lock:
            key = place.destination, place.backup
            self._watched.setdefault(key, _Watched(place)).place = place

    def missed(self, place: WatchedLocation) -> None:
        """Let the next check read the manifest of a location again."""
        watched = self._of(place)
        watched.is_missed = watched.is_new = True

    def has_manifest(self, place: WatchedLocation) -> None:
        """End the search for the manifest of a location, after a reader has read this manifest."""
        watched = self._of(place)
        watched.is_missed = watched.is_new = False

    def _of(self, place: WatchedLocation) -> _Watched:
        self.reads(place)
        with self._lock:
            return self._watched[place.destination, place.backup]

    def start(self) -> WatchThread:
        """Check repeatedly in a thread, until `WatchThread.stop`."""
        thread = WatchThread(self)
        thread.start()
        return thread

    def look(self, *, is_last: bool = False) -> None:
        """Record new damage; a store that does not answer is asked again at growing intervals.

        The last check ignores the interval.  An error is only logged, so that the disks are still
        served.
        """
        with self._lock:
            watched = [*self._watched.values()]
        for item in watched:
            if item.has_new and (is_last or self._seconds() >= item.again):
                self._update(item)
        if self._is_unwritten:
            self._write([item.report for item in watched if item.report])

    def _update(self, item: _Watched) -> None:
        was_new, item.is_new = item.is_new, False
        try:
            report = self._met(item)
        except Exception as error:
            log.warning("%s: damage cannot be recorded", self._by, exc_info=error)
            item.is_new = was_new or item.is_new
            item.again = self._seconds() + next(item.pauses)
            return
        if not item.place.repository.unrecorded:
            item.pauses = _AFTER_ERROR.pauses()
        item.again = self._seconds() + max(_REST, next(item.pauses))
        if report and not _is_same(report, item.report):
            item.report, self._is_unwritten = report, True

    def _met(self, item: _Watched) -> DamageReport | None:
        place, now = item.place, self._now_ms()
        place.repository.unreliable = ""  # the reason of the previous check
        asked = ReadBackups([place.backup], [place.backup] if item.is_missed else [])
        report = report_damage(place.destination, place.repository, asked, lambda: (self._by, now))
        return report and msgspec.structs.replace(report, found=now)

    def _write(self, reports: list[DamageReport]) -> None:
        half = self._path.with_suffix(".half")
        try:
            half.write_bytes(msgspec.json.encode(reports[-MOST_REPORTS:]))
            half.replace(self._path)
        except OSError as error:  # a full disk: the next check writes again
            log.warning("%s: damage cannot be reported to the node: %s", self._by, error)
            return
        self._is_unwritten = False


class WatchThread(Thread):
    """Thread of a watch, so that the process that serves the disks never waits for a store."""

    def __init__(self, watch: DamageWatch) -> None:
        super().__init__(name="damage", daemon=True)
        self._watch, self._over = watch, Event()

    def run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._over.wait(_LOOK_EVERY)
            try:
                self._watch.look(is_last=is_over)
            except Exception:
                log.exception("the damage of a mount cannot be watched")

    def stop(self) -> None:
        """Record new damage once more; a store that hangs delays the end of the mount by a few
        seconds.
        """
        self._over.set()
        self.join(_LAST_LOOK)


def _is_same(report: DamageReport, before: DamageReport | None) -> bool:
    """Whether a report repeats a report that was found shortly before."""
    if not before or report.found - before.found >= _TELL_AGAIN_MS:
        return False
    return report == msgspec.structs.replace(before, found=report.found)
