"""Restoring a disk from its map: leaf by leaf, each group decoded once, holes skipped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from haulback.drivers.sink import Sink
from haulback.errors import Damaged
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.mapping import MapReader
from haulback.repository.pages import HOLE, LEAF_SEGMENTS, DiskMap, Pieces
from haulback.repository.reader import Reader
from haulback.repository.resources import Meter, unmetered

_SEGMENTS_AHEAD = 8  # segments in memory at a time, which limits the memory of a restore


def restore_disk(
    disk: DiskMap,
    reader: Reader,
    sink: Sink,
    pool: ThreadPoolExecutor,
    meter: Meter = unmetered,
) -> None:
    """Write a disk's bytes to `sink`; every chunk is checked against its id first.

    Raises Damaged before any byte of a bad chunk is written.  `meter` gets the number of bytes
    covered.
    """
    queue: deque[tuple[int, Future[list[tuple[int, bytes]]], int]] = deque()
    for number, pieces in segments(disk, reader):
        covered = min(SEGMENT_BYTES, disk.size - number * SEGMENT_BYTES)
        queue.append((number, pool.submit(_fetch, pieces, covered, reader), covered))
        if len(queue) > _SEGMENTS_AHEAD:
            _write(queue.popleft(), sink, meter)
    while queue:
        _write(queue.popleft(), sink, meter)


def segments(disk: DiskMap, reader: Reader) -> Iterator[tuple[int, Pieces]]:
    """(number, pieces) of every segment that is not all zeros, in order."""
    for leaf, found in MapReader(disk, reader.chunk).leaves():
        for i, pieces in enumerate(found):
            number = leaf * LEAF_SEGMENTS + i
            if number * SEGMENT_BYTES < disk.size and any(p.ref != HOLE for p in pieces):
                yield number, pieces


def data_bytes(disk: DiskMap, reader: Reader) -> int:
    """The bytes that a restore of a disk writes: the disk without its holes.

    All pages of the map are read.  Raises Damaged.
    """
    return sum(
        piece.length
        for _, pieces in segments(disk, reader)
        for piece in pieces
        if piece.ref != HOLE
    )


def _fetch(pieces: Pieces, covered: int, reader: Reader) -> list[tuple[int, bytes]]:
    """The segment's data between its holes, each run as one block of bytes."""
    runs: list[tuple[int, list[memoryview]]] = []
    at = end = 0
    for length, ref in pieces:
        if ref != HOLE:
            data = reader.chunk(ref)
            if len(data) != length or at + length > covered:
                raise Damaged(f"chunk {ref.id.hex()} does not fit its place in the map")
            if not runs or at != end:
                runs.append((at, []))
            runs[-1][1].append(data)
            end = at + length
        at += length
    return [(start, b"".join(parts)) for start, parts in runs]


def _write(
    item: tuple[int, Future[list[tuple[int, bytes]]], int], sink: Sink, meter: Meter
) -> None:
    number, future, covered = item
    for at, data in future.result():
        sink.write_at(number * SEGMENT_BYTES + at, data)
    meter(covered)
