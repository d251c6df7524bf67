"""Disk of a mounted backup that stays readable while garbage collection moves chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

from haulback.drivers.source import Extent, Source
from haulback.errors import BaseGone, Damaged, HaulbackError
from haulback.repository.pages import DiskMap
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk


class Readers:
    """Current reader of a repository; a new one is opened after chunks were moved."""

    def __init__(self, repository: Repository) -> None:
        self._repository, self._lock = repository, Lock()
        self.current = repository.reader()

    def after(self, old: Reader) -> Reader:
        """A reader newer than `old`; threads that request it at the same time share one reader."""
        with self._lock:
            if self.current is old:
                self.current = self._repository.reader()
            return self.current


class ReopeningDisk:
    """Source over a disk of a backup that reopens the index when a chunk has moved.

    `spares` open the same disk at other locations of the backup, which supply data that this
    location cannot.
    """

    def __init__(
        self, disk: DiskMap, readers: Readers, spares: Sequence[Callable[[], Source]] = ()
    ) -> None:
        self.size, self._disk, self._readers = disk.size, disk, readers
        self._spares = spares
        self._reader = readers.current
        self._stored = StoredDisk(disk, self._reader)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """The extents from `start` (bytes); where the map is damaged, the extents of another
        location.
        """
        at, failed = start, None
        for open_disk in (lambda: self._stored, *self._spares):
            try:
                for extent in open_disk().extents(at):
                    yield extent
                    at = extent.offset + extent.length
                return
            except HaulbackError as error:
                failed = failed or error
        if failed:
            raise failed

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset` (bytes); on an error, retry once with a new reader.

        Raises Damaged or BaseGone if no location has the data.
        """
        try:
            self._read_here(offset, buffer)
        except (BaseGone, Damaged):
            if not self._read_elsewhere(offset, buffer):
                raise

    def _read_elsewhere(self, offset: int, buffer: memoryview) -> bool:
        for open_disk in self._spares:
            try:
                open_disk().read_into(offset, buffer)
            except HaulbackError:
                continue
            return True
        return False

    def _read_here(self, offset: int, buffer: memoryview) -> None:
        reader, stored = self._reader, self._stored
        try:
            stored.read_into(offset, buffer)
        except (BaseGone, Damaged):
            newer = self._readers.after(reader)
            self._stored = StoredDisk(self._disk, newer)
            self._reader = newer
            self._stored.read_into(offset, buffer)
