"""Damage that the readers of a mount meet: recorded in the repositories, and told to the node."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from haulback.contract.damage import MOST_REPORTS, DamageReport
from haulback.errors import HaulbackError
from haulback.repository.reported_damage import ReadBackups, report_damage
from haulback.repository.repository import Repository

DAMAGE = "damage"  # file in the run folder of a mount: a list of DamageReport
_MS = 1_000_000  # nanoseconds of a millisecond
_AGAIN = 60.0  # seconds after damage that could not be recorded
log = logging.getLogger(__name__)


class WatchedLocation(NamedTuple):
    """An opened repository of a destination, with its location of the mounted backup."""

    destination: str
    repository: Repository
    backup: str


class DamageWatch:
    """The repositories that a mount reads.

    `look` records what their readers could not read and writes the reports to the file `path`.
    """

    def __init__(self, mount: str, path: Path) -> None:
        self._by, self._path = f"MOUNT {mount}", path
        self._read: list[WatchedLocation] = []
        self._unread: list[WatchedLocation] = []  # their manifest could not be read
        self._reports: list[DamageReport] = []
        self._later = 0.0  # monotonic time before which nothing is looked at
        self._lock = Lock()  # guards both lists: locations are opened by threads of readers

    def reads(self, place: WatchedLocation) -> None:
        """Watch a location that was opened."""
        with self._lock:
            self._read.append(place)

    def missed(self, place: WatchedLocation) -> None:
        """Let the next look read the manifest of a location again."""
        with self._lock:
            self._unread.append(place)

    def look(self, *, is_last: bool = False) -> None:
        """Record new damage; a store that refuses or does not answer is asked again in a minute."""
        if time.monotonic() < self._later and not is_last:
            return
        with self._lock:
            read, unread = [*self._read], [*self._unread]
        met = [self._met(place, ReadBackups([place.backup])) for place in read if _has_new(place)]
        for place in unread:
            met.append(self._met(place, ReadBackups(unread=[place.backup])))
            if time.monotonic() >= self._later:
                with self._lock:
                    self._unread.remove(place)
        if new := [report for report in met if report and report not in self._reports]:
            self._reports += new
            half = self._path.with_suffix(".half")
            half.write_bytes(msgspec.json.encode(self._reports[-MOST_REPORTS:]))
            half.replace(self._path)

    def _met(self, place: WatchedLocation, asked: ReadBackups) -> DamageReport | None:
        repository, now = place.repository, time.time_ns() // _MS
        repository.unreliable = ""  # of the look before
        try:
            return report_damage(place.destination, repository, asked, lambda: (self._by, now))
        except HaulbackError as error:
            log.info("%s: damage cannot be recorded: %s", self._by, error.message)
            self._later = time.monotonic() + _AGAIN
            return None


def _has_new(place: WatchedLocation) -> bool:
    return len(place.repository.findings) > 0
