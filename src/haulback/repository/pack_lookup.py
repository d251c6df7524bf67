"""Copies of chunks that the index does not list: read from the directories of the packs.

An index file may be lost, and a merged index file names one of two copies of a chunk.  A restore
that finds no other copy searches here; the next clean-up, or a repair, completes the index.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from threading import Lock

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Damaged, NotFound
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.names import Objects
from haulback.repository.pack import GroupEntry, GroupLocation, name_of, read_directory
from haulback.repository.segment import Segment

_PACKS_A_SEGMENT = 256  # directories that one sorted table in memory holds
log = logging.getLogger(__name__)


class UnindexedCopies:
    """Places that `index` does not know; pack directories are read at the first query of a chunk.

    Packs outside of the index come first, then packs in it.  Threads may share one object.  The
    look-up keeps about 32 bytes of memory for each chunk that the index does not list.
    """

    def __init__(self, destination: ObjectStore, objects: Objects, keys: Keys, index: Index):
        self._destination, self._objects, self._keys = destination, objects, keys
        self._index = index
        self._stages: list[Index] | None = None
        self._todo: list[list[bytes]] = []
        # held while directories are read; other threads need the same result, and wait for it
        self._lock = Lock()

    def places(self, chunk: bytes) -> Iterator[tuple[bytes, GroupLocation]]:
        """(group, place) of each copy of a chunk."""
        number = 0
        while (known := self._stage(number)) is not None:
            for group in known.groups_of(chunk):
                for place in known.places(group):
                    yield group, place
            number += 1

    def _stage(self, number: int) -> Index | None:
        with self._lock:
            if self._stages is None:
                stored, placed = self._objects.packs().keys(), self._index.packs()
                self._todo = [sorted(stored - placed), sorted(stored & placed)]
                self._stages = []
            if number >= len(self._stages):
                if not self._todo:
                    return None
                self._stages.append(self._look_into(self._todo.pop(0)))
            return self._stages[number]

    def _look_into(self, packs: list[bytes]) -> Index:
        segments = []
        for low in range(0, len(packs), _PACKS_A_SEGMENT):
            batch = packs[low : low + _PACKS_A_SEGMENT]
            entries = (entry for pack in batch for entry in self._unknown(pack))
            segments += [Segment.build(layer) for layer in _layers(entries)]
        return Index(segments, damage=self._index.damage)

    def _unknown(self, pack: bytes) -> Iterable[GroupEntry]:
        """Entries of a pack's directory that the index does not list."""
        try:
            entries = read_directory(self._destination, pack, self._keys)
        except (Damaged, NotFound) as error:
            log.warning(
                "pack directory skipped: %s cannot be read: %s", name_of(pack), error.message
            )
            return
        for entry in entries:
            if entry.place not in self._index.places(entry.group):
                yield entry
                continue
            result = zip(entry.chunks, self._index.find(entry.chunks), strict=True)
            chunks = [chunk for chunk, group in result if group != entry.group]
            if chunks:
                yield entry._replace(chunks=chunks)


def _layers(entries: Iterable[GroupEntry]) -> Iterator[list[GroupEntry]]:
    """The entries in lists without duplicate chunks, because an index file keeps one copy of each.

    Both copies are needed, because either of them may be damaged.
    """
    left = list(entries)
    while left:
        seen: set[bytes] = set()
        layer: list[GroupEntry] = []
        later: list[GroupEntry] = []
        for entry in left:
            if seen.isdisjoint(entry.chunks):
                seen.update(entry.chunks)
                layer.append(entry)
            else:
                later.append(entry)
        yield layer
        left = later
