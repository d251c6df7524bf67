"""Turning a disk into a map: what changed is read, cut, looked up and handed to the writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

from haulback.drivers.source import Extent, Source
from haulback.repository.cut import SEGMENT_BYTES, cut
from haulback.repository.keys import Keys
from haulback.repository.mapping import MapReader, rewrite
from haulback.repository.pages import EMPTY_LEAF, HOLE, LEAF_SEGMENTS, DiskMap, Piece, Pieces, Ref
from haulback.repository.writer import Writer

_SEGMENTS_AHEAD = 12
_ZEROS = bytes(SEGMENT_BYTES)
Meter = Callable[[int], None]


def unmetered(count: int) -> None:
    """Where nobody watches the progress."""


class _Found(NamedTuple):
    """A run of a segment: stored already (`ref`), or new with its id and bytes."""

    length: int
    ref: Ref | None
    id: bytes = b""
    data: memoryview | None = None


class _Work(NamedTuple):
    """A segment to look at: the old pieces, and which of its bytes may have changed."""

    number: int
    old: Pieces | None
    low: int
    high: int


def back_up_disk(
    source: Source,
    writer: Writer,
    keys: Keys,
    pool: ThreadPoolExecutor,
    base: MapReader | None = None,
    changed: Iterable[Extent] | None = None,
    meter: Meter = unmetered,
) -> DiskMap:
    """Store a disk and return its map.

    With `base` and `changed` only what encloses the changed extents is read.  With `base` alone the
    disk is read and compared with the base's chunk ids.  A base of another size is only a hint for
    deduplication.  `meter` is told the bytes read.
    """
    if base and base.root.size != source.size:
        base, changed = None, None
    work = _changed(source, base, changed) if base and changed is not None else _all(source, base)
    looked = _look(source, work, keys, pool, meter)
    segments = ((number, _store(found, writer)) for number, found in looked)
    return rewrite(source.size, base, segments, writer.add_page)


def _all(source: Source, base: MapReader | None) -> Iterator[_Work]:
    """Every segment with data; and, where the base had some, those that are empty now."""
    data = iter(_segments(source.extents(), source.size))
    upcoming = next(data, None)
    number, leaf = 0, EMPTY_LEAF
    for number in range(-(-source.size // SEGMENT_BYTES)):
        if base and number % LEAF_SEGMENTS == 0:
            leaf = base.leaf(number // LEAF_SEGMENTS)
        old = leaf[number % LEAF_SEGMENTS] if base else None
        if upcoming == number:
            upcoming = next(data, None)
            yield _Work(number, old, 0, _length(number, source.size))
        elif old and any(piece.ref != HOLE for piece in old):
            yield _Work(number, old, 0, 0)


def _changed(source: Source, base: MapReader, changed: Iterable[Extent]) -> Iterator[_Work]:
    """The segments that changed extents touch, narrowed to the pieces that enclose them."""
    leaf_number, leaf = -1, EMPTY_LEAF
    for number, ranges in groupby(_per_segment(changed, source.size), lambda item: item[0]):
        spans = [(low, high) for _, low, high in ranges]
        if number // LEAF_SEGMENTS != leaf_number:
            leaf_number = number // LEAF_SEGMENTS
            leaf = base.leaf(leaf_number)
        old = leaf[number % LEAF_SEGMENTS]
        yield _Work(number, old, spans[0][0], spans[-1][1])


def _segments(extents: Iterable[Extent], size: int) -> Iterator[int]:
    last = -1
    for number, _, _ in _per_segment(extents, size):
        if number != last:
            yield number
        last = number


def _per_segment(extents: Iterable[Extent], size: int) -> Iterator[tuple[int, int, int]]:
    """(segment, low, high) for each part of each extent; bytes within the segment."""
    for offset, length in extents:
        end = min(offset + length, size)
        while offset < end:
            number, low = divmod(offset, SEGMENT_BYTES)
            high = min(SEGMENT_BYTES, low + end - offset)
            yield number, low, high
            offset += high - low


def _look(
    source: Source, work: Iterable[_Work], keys: Keys, pool: ThreadPoolExecutor, meter: Meter
) -> Iterator[tuple[int, list[_Found]]]:
    """Read segments ahead and examine them in the pool; results come in order."""
    queue: deque[tuple[int, Future[list[_Found]]]] = deque()
    for item in work:
        length = _length(item.number, source.size)
        low, high = _enclosing(item)
        data = memoryview(bytearray(min(high, length) - low))
        if data:
            source.read_into(item.number * SEGMENT_BYTES + low, data)
            meter(len(data))
        queue.append((item.number, pool.submit(_examine, item, low, data, length, keys)))
        if len(queue) > _SEGMENTS_AHEAD:
            number, future = queue.popleft()
            yield number, future.result()
    for number, future in queue:
        yield number, future.result()


def _enclosing(item: _Work) -> tuple[int, int]:
    """The bytes to read: the changed ones, widened to the old pieces' cuts."""
    if item.old is None or item.high == 0:
        return item.low, item.high
    low, high, at = item.low, item.high, 0
    for length, _ in item.old:
        end = at + length
        if at <= item.low < end:
            low = at
        if at < item.high <= end:
            high = end
        at = end
    return low, max(high, item.high)


def _examine(item: _Work, low: int, data: memoryview, length: int, keys: Keys) -> list[_Found]:
    """What a segment consists of now; only `data`, from `low`, was read anew."""
    if not data:
        return [_Found(length, HOLE)]
    if item.old is None:
        return list(_cut(data, keys))
    found: list[_Found] = []
    at, fresh = 0, low
    for piece in item.old:
        end = min(at + piece.length, length)
        inside = low <= at and end <= low + len(data)
        if not inside or _same(data[at - low : end - low], piece.ref, keys):
            found.extend(_cut(data[fresh - low : max(at - low, fresh - low)], keys))
            found.append(_Found(end - at, piece.ref))
            fresh = max(end, low)
        at = end
    found.extend(_cut(data[fresh - low :], keys))
    return [run for run in found if run.length]


def _same(data: memoryview, ref: Ref, keys: Keys) -> bool:
    return is_zero(data) if ref == HOLE else keys.chunk_id(data) == ref.id


def _cut(data: memoryview, keys: Keys) -> Iterator[_Found]:
    if not data:
        return
    for piece in cut(data):
        if is_zero(piece):
            yield _Found(len(piece), HOLE)
        else:
            yield _Found(len(piece), None, keys.chunk_id(piece), piece)


def _store(found: list[_Found], writer: Writer) -> Pieces:
    """Hand new chunks to the writer; the segment's pieces, neighbouring holes joined."""
    new = [(run.id, run.data) for run in found if run.data is not None]
    refs = iter(writer.add(new)) if new else iter(())
    pieces: list[Piece] = []
    for run in found:
        ref = run.ref or next(refs)
        if ref == HOLE and pieces and pieces[-1].ref == HOLE:
            pieces[-1] = Piece(pieces[-1].length + run.length, HOLE)
        else:
            pieces.append(Piece(run.length, ref))
    return tuple(pieces)


def _length(number: int, size: int) -> int:
    return min(SEGMENT_BYTES, size - number * SEGMENT_BYTES)


def is_zero(data: memoryview) -> bool:
    """Whether `data` (at most a segment) is all zeros; the first bytes decide for most."""
    return bytes(data[:16]) == _ZEROS[: min(16, len(data))] and bytes(data) == _ZEROS[: len(data)]
