"""A disk of a backup as a Source: read in place, without a restore."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from haulback.drivers.source import Extent
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.mapping import MapReader
from haulback.repository.pages import HOLE, LEAF_SEGMENTS, DiskMap
from haulback.repository.reader import Reader


class StoredDisk:
    """Random access to a stored disk; threads may share one object.

    Every chunk is checked against its id.  Raises Damaged or BaseGone.
    """

    def __init__(self, disk: DiskMap, reader: Reader) -> None:
        self.size, self._reader = disk.size, reader
        self._map, self._lock = MapReader(disk, reader.chunk), Lock()

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
            pieces = self._map.leaf(number // LEAF_SEGMENTS)[number % LEAF_SEGMENTS]
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
