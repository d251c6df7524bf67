"""A disk of a backup as a Source: read in place, without a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from haulback.drivers.source import Extent
from haulback.errors import HaulbackError
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.manifest import Manifest
from haulback.repository.mapping import MapReader
from haulback.repository.pages import HOLE, LEAF_SEGMENTS, DiskMap, Pieces
from haulback.repository.reader import Reader

_AHEAD = 4  # segments that are loaded before they are read
_STREAMS = 4  # readers at different places of a disk whose segments are loaded ahead
_THREADS = 2


class StoredDisk:
    """Random access to a stored disk; threads may share one object.

    Every chunk is checked against its id.  Raises Damaged or BaseGone.
    """

    def __init__(self, disk: DiskMap, reader: Reader) -> None:
        self.size, self._reader = disk.size, reader
        self._map, self._lock = MapReader(disk, reader.chunk), Lock()
        self._ahead = _ReadAhead(reader, -(-disk.size // SEGMENT_BYTES))

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
        high = low + len(buffer)
        with self._lock:
            pieces = self._pieces(number)
            coming = self._ahead.expect(number, self._pieces)
        if coming and (segment := coming.result()):
            buffer[:] = segment[low:high]
            return
        at = 0
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
    """Loads the next segments of a disk ahead of one reader or a few that read in order; threads of
    a pool decode the segments on other cores.

    At most _STREAMS times _AHEAD + 1 segments are kept.  The reader reports errors of a segment
    when it reads the segment. The threads end when the object is closed.
    """

    def __init__(self, reader: Reader, end: int) -> None:
        self._reader, self._end = reader, end
        self._pool: ThreadPoolExecutor | None = None
        # the last and the first segment of each reader, oldest reader first
        self._positions: dict[int, int] = {}
        self._coming: dict[int, Future[memoryview | None]] = {}

    def expect(
        self, number: int, pieces: Callable[[int], Pieces]
    ) -> Future[memoryview | None] | None:
        """The bytes of segment `number`, which is read now, if they were loaded ahead; the caller
        holds a lock.
        """
        if number not in self._positions:
            first = self._positions.pop(number - 1, number)
            self._positions[number] = first
            if len(self._positions) > _STREAMS:
                del self._positions[next(iter(self._positions))]
            if first < number:
                self._load_after(number, pieces)
        return self._coming.get(number)

    def _load_after(self, number: int, pieces: Callable[[int], Pieces]) -> None:
        self._pool = self._pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="read ahead")
        kept = {at + i for at in self._positions for i in range(_AHEAD + 1)}
        self._coming = {at: future for at, future in self._coming.items() if at in kept}
        for later in range(number + 1, min(number + 1 + _AHEAD, self._end)):
            if later not in self._coming and not self._is_anothers(number, later):
                self._coming[later] = self._pool.submit(self._load, pieces(later))

    def _is_anothers(self, number: int, later: int) -> bool:
        """Whether a sequential reader that began after segment `number` has read the segment
        `later`.
        """
        return any(
            number < first <= later <= last and first < last
            for last, first in self._positions.items()
        )

    def _load(self, pieces: Pieces) -> memoryview | None:
        """The checked bytes of a segment; None if it is empty, or a chunk cannot be read."""
        if all(ref == HOLE for _, ref in pieces):
            return None
        try:
            if (run := self._run(pieces)) is not None:
                return run
            chunks = [bytes(n) if ref == HOLE else self._reader.chunk(ref) for n, ref in pieces]
        except HaulbackError:
            return None
        return memoryview(b"".join(chunks))

    def _run(self, pieces: Pieces) -> memoryview | None:
        """The bytes of a segment whose chunks follow each other in one group."""
        name = pieces[0].ref.group
        if any(ref.group != name for _, ref in pieces):
            return None
        group = self._reader.checked(name, [ref.id for _, ref in pieces])
        if group is None:
            return None
        places = [group.places[ref.id] for _, ref in pieces]
        low = end = places[0][0]
        for (length, _), place in zip(pieces, places, strict=True):
            if place != (end, length):
                return None
            end += length
        if end - low == len(group.data):
            self._reader.passed(name)
        return memoryview(group.data)[low:end]


def stored_disks(manifest: Manifest, reader: Reader) -> dict[str, StoredDisk]:
    """The disks of a backup by name, all read through one reader."""
    return {disk.name: StoredDisk(disk.map, reader) for disk in manifest.disks}
