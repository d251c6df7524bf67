"""Groups that will be read soon: neighbours in a pack are loaded by one request of the store."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Damaged, NotFound
from haulback.repository.index import Index
from haulback.repository.pack import GroupLocation, name_of
from haulback.units import MIB

RUN_BYTES = 12 * MIB  # most bytes of one load
GAP_BYTES = 8 * MIB  # unneeded bytes between two groups that cost less than another request
_HELD = 24 * MIB  # loaded bytes that wait for their reader


class _Run:
    """Neighbouring groups of a pack; `data` holds their bytes once one group was read."""

    def __init__(self, first: GroupLocation, before: int) -> None:
        self.pack, self.start = first.pack, max(0, first.offset - before)
        self.end = first.offset + first.length
        self.is_shared = before > 0  # whether a load serves more than one group
        self.left = 1 + self.is_shared  # groups that were not read yet
        self.data: bytes | None = None
        # held while the run is loaded: its other groups wait for the same bytes
        self.lock = Lock()

    def has(self, place: GroupLocation) -> bool:
        """Whether the bytes of a place are among those of the run."""
        is_within = self.start <= place.offset and place.offset + place.length <= self.end
        return place.pack == self.pack and is_within

    def takes(self, place: GroupLocation) -> bool:
        """Add a group to the run; returns False for a group that is far from its end, or would make
        the run too long.
        """
        end = place.offset + place.length
        if place.pack != self.pack or place.offset > self.end + GAP_BYTES:
            return False
        if end - self.start > RUN_BYTES:
            return False
        self.end, self.left, self.is_shared = max(self.end, end), self.left + 1, True
        return True


class ExpectedGroups:
    """The sealed records of groups that a reader has announced; threads may share one collection.

    Two announcements are kept, because readers may still use the groups of the previous
    announcement.
    """

    def __init__(self, destination: ObjectStore, index: Index) -> None:
        self._destination, self._index = destination, index
        self._runs: dict[bytes, _Run] = {}
        self._before: dict[bytes, _Run] = {}
        self._loaded: list[_Run] = []
        # guards the three collections; a run is loaded outside of this lock
        self._lock = Lock()

    def announce(self, groups: Iterable[bytes], before: int = 0) -> None:
        """Expect that these groups are read, each once at most; `before` bytes in front of each
        run are loaded with it.
        """
        located = ((self._index.place(group), group) for group in groups)
        runs: dict[bytes, _Run] = {}
        run: _Run | None = None
        for place, group in sorted((place, group) for place, group in located if place):
            if run is None or not run.takes(place):
                run = _Run(place, before)
            runs[group] = run
        with self._lock:
            self._before, self._runs = self._runs, runs

    def take(self, group: bytes, place: GroupLocation) -> bytes | None:
        """The record of an announced group or of its neighbour; None if the record must be read
        from the store.
        """
        with self._lock:
            announced = self._runs.pop(group, None) or self._before.pop(group, None)
            run = next((held for held in self._loaded if held.has(place)), announced)
        if run is None or not run.has(place):
            return None
        with run.lock:
            if run.data is None and run.is_shared:
                self._load(run)
            data, at = run.data or b"", place.offset - run.start
            record = data[at : at + place.length]
            run.left -= run is announced
            if not run.left:
                run.data = b""
        return record if len(record) == place.length else None

    def _load(self, run: _Run) -> None:
        """Load a run; if the run cannot be read, each group is read separately."""
        try:
            run.data = self._destination.load(name_of(run.pack), run.start, run.end - run.start)
        except (NotFound, Damaged):
            run.data = b""
        with self._lock:
            self._loaded = [held for held in (*self._loaded, run) if held.data]
            while sum(len(held.data or b"") for held in self._loaded) > _HELD:
                self._loaded.pop(0).data = b""
