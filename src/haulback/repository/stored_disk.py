"""A disk of a backup as a Source: read in place, without a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from haulback.drivers.source import Extent
from haulback.errors import HaulbackError
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.mapping import MapReader
from haulback.repository.pages import HOLE, LEAF_SEGMENTS, DiskMap, Pieces
from haulback.repository.reader import Reader

_AHEAD = 4  # segments that are loaded before they are read; the reader keeps many more groups
_THREADS = 2


class StoredDisk:
    """Random access to a stored disk; threads may share one object.

    Every chunk is checked against its id.  Raises Damaged or BaseGone.
    """

    def __init__(self, disk: DiskMap, reader: Reader) -> None:
        self.size, self._reader = disk.size, reader
        self._map, self._lock = MapReader(disk, reader.chunk), Lock()
        self._ahead = _ReadAhead(reader)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """Segments that are not all zeros."""
        first = start // SEGMENT_BYTES
        fresh = MapReader(self._map.root, self._reader.chunk)
        for number, pieces in fresh.leaves(first // LEAF_SEGMENTS):
            for i, segment in enumerate(pieces):
                at = (number * LEAF_SEGMENTS + i) * SEGMENT_BYTES
                wanted = first * SEGMENT_BYTES <= at < self.size
                if wanted and any(piece.ref != HOLE for piece in segment):
                    yield Extent(at, min(SEGMENT_BYTES, self.size - at))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`; both lie within the disk."""
        if offset < 0 or offset + len(buffer) > self.size:
            raise ValueError(
                f"{len(buffer)} bytes at {offset} are outside of the disk's {self.size} bytes"
            )
        done = 0
        while done < len(buffer):
            segment, within = divmod(offset + done, SEGMENT_BYTES)
            count = min(len(buffer) - done, SEGMENT_BYTES - within)
            self._segment(segment, within, buffer[done : done + count])
            done += count

    def _segment(self, number: int, low: int, buffer: memoryview) -> None:
        with self._lock:
            pieces = self._pieces(number)
            self._ahead.expect(number, self._pieces, -(-self.size // SEGMENT_BYTES))
            coming = self._ahead.coming(number)
        if coming:
            coming.result()  # so that no group is decoded twice
        high, at = low + len(buffer), 0
        for length, ref in pieces:
            start, end = max(at, low), min(at + length, high)
            if start < end:
                part = buffer[start - low : end - low]
                part[:] = (
                    bytes(len(part))
                    if ref == HOLE
                    else self._reader.chunk(ref)[start - at : end - at]
                )
            at += length

    def _pieces(self, number: int) -> Pieces:
        return self._map.leaf(number // LEAF_SEGMENTS)[number % LEAF_SEGMENTS]


class _ReadAhead:
    """Decodes and checks the chunks of the next segments of a disk that is read in order, on more
    cores than the one that reads.

    Errors are left to the reading itself.  The threads end when the object is closed.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader, self._last, self._until = reader, -2, 0  # segment 0 has no predecessor
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[int, Future[None]] = {}

    def expect(self, number: int, pieces: Callable[[int], Pieces], end: int) -> None:
        """Record that segment `number` of `end` segments is read; the caller holds a lock."""
        is_next, is_same = number == self._last + 1, number == self._last
        self._last = number
        if is_same or not is_next:
            self._until = self._until if is_same else 0
            return
        self._pool = self._pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="read ahead")
        self._coming = {n: f for n, f in self._coming.items() if not f.done()}
        for later in range(max(number + 1, self._until), min(number + 1 + _AHEAD, end)):
            if later not in self._coming:
                self._coming[later] = self._pool.submit(self._load, pieces(later))
            self._until = later + 1

    def coming(self, number: int) -> Future[None] | None:
        """The loading of a segment, if it was begun."""
        return self._coming.get(number)

    def _load(self, pieces: Pieces) -> None:
        """Let the reader keep the checked chunks of a segment."""
        for _, ref in pieces:
            if ref != HOLE:
                with suppress(HaulbackError):
                    self._reader.chunk(ref)
