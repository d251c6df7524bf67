"""Disk of a mounted backup that stays readable while garbage collection moves chunks."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from haulback.drivers.source import Extent
from haulback.errors import BaseGone, Damaged
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
        """A reader that is newer than `old`; threads that ask at the same time share one."""
        with self._lock:
            if self.current is old:
                self.current = self._repository.reader()
            return self.current


class ReopeningDisk:
    """Source over a disk of a backup that reopens the index when a chunk has moved."""

    def __init__(self, disk: DiskMap, readers: Readers) -> None:
        self.size, self._disk, self._readers = disk.size, disk, readers
        self._reader = readers.current
        self._stored = StoredDisk(disk, self._reader)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        return self._stored.extents(start)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset` (bytes); on an error, retry once with a new reader.

        Raises Damaged or BaseGone when the current repository does not hold the data.
        """
        reader, stored = self._reader, self._stored
        try:
            stored.read_into(offset, buffer)
        except (BaseGone, Damaged):
            newer = self._readers.after(reader)
            self._stored = StoredDisk(self._disk, newer)
            self._reader = newer
            self._stored.read_into(offset, buffer)
