"""Backing up a disk: changed data is read, chunked, deduplicated and passed to the writer; the
result is a map.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import groupby
from typing import NamedTuple

from haulback.drivers.source import Extent, Source
from haulback.repository.chunker import SEGMENT_BYTES, cut
from haulback.repository.keys import Keys
from haulback.repository.mapping import LoadPage, MapReader, rewrite
from haulback.repository.pages import (
    EMPTY_LEAF,
    HOLE,
    LEAF_SEGMENTS,
    ChunkRef,
    DiskMap,
    Pieces,
    SegmentPiece,
)
from haulback.repository.resources import Meter, Resources
from haulback.repository.writer import Writer

_SEGMENTS_AHEAD = 12  # segments in memory at a time, which limits the memory of an export
_ZEROS = bytes(SEGMENT_BYTES)


class DiskBase(NamedTuple):
    """A disk of an earlier backup, on which a new backup builds.

    With `changed`, only those extents are read from the source; without `changed`, the whole disk
    is read and compared with the chunk ids of `map`.  With `distrust` the disk is cut at the chunk
    borders of `map`, but no chunk is reused from the map: an equal chunk is stored again, unless a
    sound copy of it is stored.
    """

    map: MapReader
    changed: Iterable[Extent] | None = None
    distrust: bool = False


class _Comparison(NamedTuple):
    """The means to compare a disk with its base; without `keep`, unchanged pieces count as new."""

    keys: Keys
    load: LoadPage | None
    keep: bool


class _Found(NamedTuple):
    """A piece of a disk segment: either already stored (`ref`), or new with its id and bytes."""

    length: int
    ref: ChunkRef | None
    id: bytes = b""
    data: memoryview | None = None


class _Work(NamedTuple):
    """A disk segment to examine: its old pieces, and the spans of the segment that may have
    changed.
    """

    number: int
    old: Pieces | None
    spans: list[tuple[int, int]]


class _Run(NamedTuple):
    """A run of whole old pieces that changed spans touch; `low` is its offset in the segment.

    `gaps` of `data` were not read from the source, because their bytes are unchanged; the base
    supplies them.
    """

    low: int
    data: memoryview
    gaps: list[tuple[int, int]]


def back_up_disk(
    source: Source,
    writer: Writer,
    keys: Keys,
    resources: Resources,
    base: DiskBase | None = None,
) -> DiskMap:
    """Store a disk and return its map.

    With the changed extents of a base only these extents, and few bytes around them, are read from
    the source; the rest of a chunk comes from the base.  A base of another size is only a hint for
    deduplication.  The meter of `resources` gets the number of bytes read.
    """
    if base and base.map.root.size != source.size:
        base = None
    old = base.map if base else None
    if base and base.changed is not None and not base.distrust:
        work = _changed(source, base.map, base.changed)
    else:
        work = _all(source, old)
    known = _Comparison(keys, old.load if old else None, not (base and base.distrust))
    looked = _examine_all(source, work, known, resources)
    segments = ((number, _store(pieces, writer)) for number, pieces in looked)
    return rewrite(source.size, old, segments, writer.add_page)


def _all(source: Source, base: MapReader | None) -> Iterator[_Work]:
    """Every segment with data, and every segment that had data in the base but is empty now."""
    data = iter(_segments(source.extents(), source.size))
    upcoming = next(data, None)
    number, leaf = 0, EMPTY_LEAF
    for number in range(-(-source.size // SEGMENT_BYTES)):
        if base and number % LEAF_SEGMENTS == 0:
            leaf = base.leaf(number // LEAF_SEGMENTS)
        old = leaf[number % LEAF_SEGMENTS] if base else None
        if upcoming == number:
            upcoming = next(data, None)
            yield _Work(number, old, [(0, _length(number, source.size))])
        elif old and any(piece.ref != HOLE for piece in old):
            yield _Work(number, old, [])


def _changed(source: Source, base: MapReader, changed: Iterable[Extent]) -> Iterator[_Work]:
    """The segments that the changed extents touch."""
    leaf_number, leaf = -1, EMPTY_LEAF
    for number, ranges in groupby(_per_segment(changed, source.size), lambda item: item[0]):
        spans = [(low, high) for _, low, high in ranges]
        if number // LEAF_SEGMENTS != leaf_number:
            leaf_number = number // LEAF_SEGMENTS
            leaf = base.leaf(leaf_number)
        old = leaf[number % LEAF_SEGMENTS]
        yield _Work(number, old, spans)


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


def _examine_all(
    source: Source, work: Iterable[_Work], known: _Comparison, resources: Resources
) -> Iterator[tuple[int, list[_Found]]]:
    """Read segments ahead and examine them in the pool; results come in order."""
    queue: deque[tuple[int, list[_Run], Future[list[_Found]]]] = deque()
    reading = _Reading(source, resources.meter)
    for item in work:
        length = _length(item.number, source.size)
        runs = [reading.read(item, span) for span in _enclosing(item, length)]
        examined = resources.pool.submit(_examine, item.old, runs, length, known)
        queue.append((item.number, runs, examined))
        if len(queue) > _SEGMENTS_AHEAD:
            number, runs, future = queue.popleft()
            yield number, future.result()
            reading.reuse(runs)  # the caller has copied the new chunks
    for number, _, future in queue:
        yield number, future.result()


def _enclosing(item: _Work, length: int) -> list[tuple[int, int]]:
    """The spans widened to the borders of the old pieces; adjacent spans are joined."""
    result: list[tuple[int, int]] = []
    for low, high in item.spans:
        if item.old is not None:
            low, high = _widened(item.old, low, high)
        high = min(high, length)
        if result and low <= result[-1][1]:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return result


def _widened(old: Pieces, low: int, high: int) -> tuple[int, int]:
    at, first, last = 0, low, high
    for length, _ in old:
        end = at + length
        if at <= low < end:
            first = at
        if at < high <= end:
            last = end
        at = end
    return first, last


class _Allowance:
    """The limit of unchanged bytes read: nine tenths of the changed bytes, over the whole disk.

    Reading a few more bytes is cheaper than decompressing the group of a chunk; but a hypervisor
    must not have to read more than twice the changed bytes.
    """

    def __init__(self) -> None:
        self._left = 0

    def covers(self, changed: int, more: int) -> bool:
        """Whether `more` unchanged bytes may be read besides the `changed` bytes."""
        self._left += changed * 9 // 10
        if more > self._left:
            return False
        self._left -= more
        return True


class _Reading:
    """Reads runs from a source, whole segments into buffers of earlier segments."""

    def __init__(self, source: Source, meter: Meter) -> None:
        self._source, self._meter, self._allowance = source, meter, _Allowance()
        self._spare: list[memoryview] = []

    def read(self, item: _Work, span: tuple[int, int]) -> _Run:
        """Read the spans of the run `span`, or the whole run if the limit allows its gaps."""
        low, high = span
        spans = [(max(a, low), min(b, high)) for a, b in item.spans if a < high and b > low]
        changed = sum(b - a for a, b in spans)
        if item.old is None or self._allowance.covers(changed, high - low - changed):
            spans = [(low, high)]
        is_whole = spans == [(0, SEGMENT_BYTES)]
        # The gaps are zeros unless every byte is read, because a gap over a hole is not filled.
        data = self._buffer() if is_whole else memoryview(bytearray(high - low))
        gaps, at = [], low
        for start, end in spans:
            if start > at:
                gaps.append((at - low, start - low))
            if end > start:
                target = data[start - low : end - low]
                self._source.read_into(item.number * SEGMENT_BYTES + start, target)
                self._meter(end - start)
            at = end
        return _Run(low, data, gaps + ([(at - low, high - low)] if at < high else []))

    def reuse(self, runs: list[_Run]) -> None:
        """Take back the buffers of runs whose data is no longer needed."""
        self._spare += [run.data for run in runs if len(run.data) == SEGMENT_BYTES]

    def _buffer(self) -> memoryview:
        return self._spare.pop() if self._spare else memoryview(bytearray(SEGMENT_BYTES))


def _examine(old: Pieces | None, runs: list[_Run], length: int, known: _Comparison) -> list[_Found]:
    """The present pieces of a segment; outside the runs these are the old pieces."""
    keys, load, keep = known
    if not runs:
        return [_Found(length, HOLE)]
    if old is None:
        return list(_cut(runs[0].data, keys))
    result: list[_Found] = []
    at = 0
    for run in runs:
        result += _kept(old, at, run.low)
        if load:
            _fill(run, old, load)
        result += _anew(old, run, keys, keep)
        at = run.low + len(run.data)
    result += _kept(old, at, length)
    return [piece for piece in result if piece.length]


def _places(old: Pieces, low: int, high: int) -> Iterator[tuple[int, int, ChunkRef]]:
    """(from, to, ref) of each old piece that lies within a stretch; the last piece ends with the
    stretch.
    """
    at = 0
    for piece in old:
        end = at + piece.length
        if low <= at < high:
            yield at, min(end, high), piece.ref
        at = end


def _kept(old: Pieces, low: int, high: int) -> list[_Found]:
    return [_Found(end - at, ref) for at, end, ref in _places(old, low, high)]


def _fill(run: _Run, old: Pieces, load: LoadPage) -> None:
    """Fill the gaps of a run with the unchanged data of the base's chunks."""
    for at, end, ref in _places(old, run.low, run.low + len(run.data)):
        start, stop = at - run.low, end - run.low
        for low, high in run.gaps:
            first, last = max(low, start), min(high, stop)
            if first < last and ref != HOLE:
                run.data[first:last] = load(ref)[first - start : last - start]


def _anew(old: Pieces, run: _Run, keys: Keys, keep: bool) -> list[_Found]:
    """The pieces of a run: pieces equal to the base are kept, the data between them is cut into new
    chunks.
    """
    result: list[_Found] = []
    fresh = 0
    for at, end, ref in _places(old, run.low, run.low + len(run.data)):
        start, stop = at - run.low, end - run.low
        if _same(run.data[start:stop], ref, keys):
            result.extend(_cut(run.data[fresh:start], keys))
            if keep or ref == HOLE:
                result.append(_Found(stop - start, ref))
            else:
                result.append(_Found(stop - start, None, ref.id, run.data[start:stop]))
            fresh = stop
    return result + list(_cut(run.data[fresh:], keys))


def _same(data: memoryview, ref: ChunkRef, keys: Keys) -> bool:
    return is_zero(data) if ref == HOLE else keys.chunk_id(data) == ref.id


def _cut(data: memoryview, keys: Keys) -> Iterator[_Found]:
    if not data:
        return
    for piece in cut(data):
        if is_zero(piece):
            yield _Found(len(piece), HOLE)
        else:
            yield _Found(len(piece), None, keys.chunk_id(piece), piece)


def _store(runs: list[_Found], writer: Writer) -> Pieces:
    """Hand new chunks to the writer and return the segment's pieces, with adjacent holes joined."""
    new = [(run.id, run.data) for run in runs if run.data is not None]
    refs = iter(writer.add(new)) if new else iter(())
    pieces: list[SegmentPiece] = []
    for run in runs:
        ref = run.ref or next(refs)
        if ref == HOLE and pieces and pieces[-1].ref == HOLE:
            pieces[-1] = SegmentPiece(pieces[-1].length + run.length, HOLE)
        else:
            pieces.append(SegmentPiece(run.length, ref))
    return tuple(pieces)


def _length(number: int, size: int) -> int:
    return min(SEGMENT_BYTES, size - number * SEGMENT_BYTES)


def is_zero(data: memoryview) -> bool:
    """Whether `data` (at most a segment) is all zeros; the first bytes decide in most cases."""
    return bytes(data[:16]) == _ZEROS[: min(16, len(data))] and bytes(data) == _ZEROS[: len(data)]
