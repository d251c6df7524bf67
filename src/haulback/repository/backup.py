"""Backing up a disk: changed data is read, chunked, deduplicated and passed to the writer; the
result is a map.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
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
from haulback.repository.read_plan import (
    PieceRun,
    PlannedSegment,
    Work,
    increment,
    length_of,
    per_segment,
    places,
    whole,
)
from haulback.repository.resources import Meter, Resources
from haulback.repository.writer import Writer

_SEGMENTS_AHEAD = 4  # segments in memory at a time: more of them would leave the processor's cache
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


class _Run(NamedTuple):
    """A run of old pieces that overlap changed spans; `low` is its offset in the segment.

    `gaps` of `data` were not read from the source, because their bytes are unchanged; the base
    supplies them.
    """

    low: int
    data: memoryview
    gaps: list[tuple[int, int]]


class _Examined(NamedTuple):
    """The present pieces of a segment; `runs` have the memory of those that are new."""

    number: int
    pieces: list[_Found]
    runs: list[_Run]


def back_up_disk(
    source: Source,
    writer: Writer,
    keys: Keys,
    resources: Resources,
    base: DiskBase | None = None,
) -> DiskMap:
    """Store a disk and return its map.

    With the changed extents of a base only these extents, and few bytes around them, are read from
    the source; the rest of a chunk comes from the base.  A base of a different size only helps
    deduplication.  The meter of `resources` gets the number of bytes read.
    """
    if base and base.map.root.size != source.size:
        base = None
    old = base.map if base else None
    if base and base.changed is not None and not base.distrust:
        plan = increment(base.changed, base.map)
    else:
        plan = whole(_all(source, old), source.size)
    known = _Comparison(keys, old.load if old else None, not (base and base.distrust))
    looked = _examine_all(source, plan, known, resources)
    segments = ((item.number, _store(item, writer)) for item in looked)
    return rewrite(source.size, old, segments, writer.add_page)


def _all(source: Source, base: MapReader | None) -> Iterator[Work]:
    """Every segment with data, and every segment that had data in the base and is empty now."""
    data = iter(_segments(source.extents(), source.size))
    upcoming = next(data, None)
    number, leaf = 0, EMPTY_LEAF
    for number in range(-(-source.size // SEGMENT_BYTES)):
        if base and number % LEAF_SEGMENTS == 0:
            leaf = base.leaf(number // LEAF_SEGMENTS)
        old = leaf[number % LEAF_SEGMENTS] if base else None
        if upcoming == number:
            upcoming = next(data, None)
            yield Work(number, old, [(0, length_of(number, source.size))])
        elif old and any(piece.ref != HOLE for piece in old):
            yield Work(number, old, [])


def _segments(extents: Iterable[Extent], size: int) -> Iterator[int]:
    last = -1
    for number, _, _ in per_segment(extents, size):
        if number != last:
            yield number
        last = number


def _examine_all(
    source: Source, plan: Iterable[PlannedSegment], known: _Comparison, resources: Resources
) -> Iterator[_Examined]:
    """Read segments ahead and examine them in the pool; results come in order."""
    queue: deque[tuple[int, list[_Run], Future[list[_Found]]]] = deque()
    reading = _Reading(source, resources.meter)
    for item, stretches in plan:
        length = length_of(item.number, source.size)
        runs = [reading.read(item.number, stretch) for stretch in stretches]
        examined = resources.pool.submit(_examine, item.old, runs, length, known)
        queue.append((item.number, runs, examined))
        if len(queue) > _SEGMENTS_AHEAD:
            number, runs, future = queue.popleft()
            yield _Examined(number, future.result(), runs)
            reading.reuse(runs)  # the caller has copied the new chunks, or replaced their memory
    for number, runs, future in queue:
        yield _Examined(number, future.result(), runs)


class _Reading:
    """Reads runs from a source, those of a segment's length into buffers of earlier segments."""

    def __init__(self, source: Source, meter: Meter) -> None:
        self._source, self._meter = source, meter
        self._spare: list[memoryview] = []

    def read(self, number: int, stretch: PieceRun) -> _Run:
        """Read the spans of a stretch of a segment."""
        low, high, spans = stretch
        data = self._memory(high - low, is_read_whole=spans == [(low, high)])
        for start, end in spans:
            target = data[start - low : end - low]
            self._source.read_into(number * SEGMENT_BYTES + start, target)
            self._meter(end - start)
        return _Run(low, data, [(start - low, end - low) for start, end in stretch.gaps])

    def reuse(self, runs: list[_Run]) -> None:
        """Take back the buffers of runs whose data is no longer needed."""
        self._spare += [run.data for run in runs if len(run.data) == SEGMENT_BYTES]

    def _memory(self, length: int, *, is_read_whole: bool) -> memoryview:
        """Memory for a run; zeros unless all of it will be read."""
        if length != SEGMENT_BYTES or not self._spare:
            return memoryview(bytearray(length))
        data = self._spare.pop()
        if not is_read_whole:
            data[:] = _ZEROS  # a gap whose base is a hole is not filled
        return data


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


def _kept(old: Pieces, low: int, high: int) -> list[_Found]:
    return [_Found(end - at, ref) for at, end, ref in places(old, low, high)]


def _fill(run: _Run, old: Pieces, load: LoadPage) -> None:
    """Fill the gaps of a run, which have not changed, from the base's chunks."""
    for at, end, ref in places(old, run.low, run.low + len(run.data)):
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
    for at, end, ref in places(old, run.low, run.low + len(run.data)):
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


def _store(item: _Examined, writer: Writer) -> Pieces:
    """Hand new chunks to the writer and return the segment's pieces, with adjacent holes joined."""
    refs = iter(_added(item, writer))
    pieces: list[SegmentPiece] = []
    for piece in item.pieces:
        ref = piece.ref or next(refs)
        if ref == HOLE and pieces and pieces[-1].ref == HOLE:
            pieces[-1] = SegmentPiece(pieces[-1].length + piece.length, HOLE)
        else:
            pieces.append(SegmentPiece(piece.length, ref))
    return tuple(pieces)


def _added(item: _Examined, writer: Writer) -> list[ChunkRef]:
    """The references of the new chunks; the writer may keep the memory of a segment that is all
    new.
    """
    new = [(piece.id, piece.data) for piece in item.pieces if piece.data is not None]
    is_all_new = len(new) == len(item.pieces) and len(item.runs) == 1
    if not is_all_new or len(item.runs[0].data) != SEGMENT_BYTES:
        return writer.add(new) if new else []
    refs, memory = writer.add_segment(new, item.runs[0].data)
    item.runs[0] = item.runs[0]._replace(data=memory)
    return refs


def is_zero(data: memoryview) -> bool:
    """Whether `data` (at most a segment) is all zeros; the first bytes decide in most cases."""
    return bytes(data[:16]) == _ZEROS[: min(16, len(data))] and bytes(data) == _ZEROS[: len(data)]
