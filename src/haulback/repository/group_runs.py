"""Reading many sealed groups: neighbours in a pack are loaded at once; each is authenticated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Damaged, NotFound
from haulback.repository.group import Group, authenticate
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.pack import GroupLocation, name_of
from haulback.repository.reader import Findings
from haulback.units import KIB, MIB

_RUN_BYTES = 8 * MIB  # bytes of one load; with the runs ahead this limits the memory
_GAP = 64 * KIB  # unneeded bytes between two groups that cost less than another request
_RUNS_AHEAD = 2


class SealedGroup(NamedTuple):
    """A group's record as it is stored, and the group without its data."""

    group: Group
    record: bytes


class GroupRuns:
    """The sealed groups of a repository, in the order of their places.

    Places that cannot be read are recorded in `findings`, and their groups are read at other
    places. `opens` turns a record, the id of its group and the keys into the group, and raises
    Damaged.
    """

    def __init__(
        self,
        destination: ObjectStore,
        index: Index,
        keys: Keys,
        findings: Findings,
        opens: Callable[[bytes, bytes, Keys], Group] = authenticate,
    ) -> None:
        self._destination, self._index, self._keys = destination, index, keys
        self._findings, self._opens = findings, opens

    def read(self, groups: Iterable[bytes], pool: ThreadPoolExecutor) -> Iterator[SealedGroup]:
        """All of these groups that can be read at some place; the others are left out."""
        queue: deque[Future[list[SealedGroup]]] = deque()
        for run in self._runs(groups):
            queue.append(pool.submit(self._load, run))
            if len(queue) > _RUNS_AHEAD:
                yield from queue.popleft().result()
        for future in queue:
            yield from future.result()

    def _runs(self, groups: Iterable[bytes]) -> Iterator[list[tuple[bytes, GroupLocation]]]:
        """Adjacent groups in packs, as runs of at most `_RUN_BYTES`."""
        places = ((group, self._index.place(group)) for group in groups)
        order = sorted((place, group) for group, place in places if place)
        run: list[tuple[bytes, GroupLocation]] = []
        for place, group in order:
            if run and not _belongs(run, place):
                yield run
                run = []
            run.append((group, place))
        if run:
            yield run

    def _load(self, run: list[tuple[bytes, GroupLocation]]) -> list[SealedGroup]:
        first, last = run[0][1], run[-1][1]
        start, end = first.offset, last.offset + last.length
        try:
            data = self._destination.load(name_of(first.pack), start, end - start)
        except (NotFound, Damaged):
            data = b""  # each group is tried separately
        opened = [
            self._open(group, data[place.offset - start : place.offset - start + place.length])
            for group, place in run
        ]
        return [sealed for sealed in opened if sealed]

    def _open(self, group: bytes, record: bytes) -> SealedGroup | None:
        try:
            return SealedGroup(self._opens(record, group, self._keys), record)
        except Damaged:
            return self._elsewhere(group)

    def _elsewhere(self, group: bytes) -> SealedGroup | None:
        """The group from the first place where it can be read, or None."""
        for place in self._index.places(group):
            name = name_of(place.pack)
            try:
                record = self._destination.load(name, place.offset, place.length)
                return SealedGroup(self._opens(record, group, self._keys), record)
            except NotFound:
                self._findings.note(group, place, f"{name} is missing")
            except Damaged as error:
                self._findings.note(group, place, error.message)
        return None


def _belongs(run: list[tuple[bytes, GroupLocation]], place: GroupLocation) -> bool:
    first, last = run[0][1], run[-1][1]
    end = last.offset + last.length
    is_near = place.pack == last.pack and end <= place.offset <= end + _GAP
    return is_near and place.offset + place.length - first.offset <= _RUN_BYTES
