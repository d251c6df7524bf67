"""The plan of an increment: the bytes that are read from the source, and those of the base.

A chunk that changed in part needs its other bytes, from the source or from the base.  The source is
cheaper, because the base costs a request to the destination for each group; but the plan must not
read more than twice the changed bytes from the hypervisor. The plan therefore covers many segments
at once: the source supplies the bytes that save the most groups, and the reader of the base, which
knows the remaining groups in advance, loads neighbours together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from itertools import groupby
from typing import NamedTuple

from haulback.drivers.source import Extent
from haulback.repository.base_runs import PlaceOf, groups_of_base
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.mapping import PAGES_BEFORE, MapReader
from haulback.repository.pages import HOLE, LEAF_SEGMENTS, ChunkRef, Pieces

_SEGMENTS, _LEAVES = 256, 32  # the most segments and leaves of a window
# Leaves of a window, and of the segments of the last window that are still processed.
_LEAVES_KEPT = 48


class Work(NamedTuple):
    """A disk segment to examine: its old pieces, and the spans of the segment that may have
    changed.
    """

    number: int
    old: Pieces | None
    spans: list[tuple[int, int]]


class PieceRun(NamedTuple):
    """A range of old pieces of a segment, and the spans in it that the source supplies."""

    low: int
    high: int
    spans: list[tuple[int, int]]

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """The spans that have not changed and are not read from the source."""
        ends = [self.low, *(end for _, end in self.spans)]
        starts = [*(start for start, _ in self.spans), self.high]
        return [(end, start) for end, start in zip(ends, starts, strict=True) if end < start]


class PlannedSegment(NamedTuple):
    """A segment and its ranges to process."""

    work: Work
    stretches: list[PieceRun]


def per_segment(extents: Iterable[Extent], size: int) -> Iterator[tuple[int, int, int]]:
    """(segment, low, high) for each part of each extent; bytes within the segment."""
    for offset, length in extents:
        end = min(offset + length, size)
        while offset < end:
            number, low = divmod(offset, SEGMENT_BYTES)
            high = min(SEGMENT_BYTES, low + end - offset)
            yield number, low, high
            offset += high - low


def length_of(number: int, size: int) -> int:
    """The length of a segment of a disk of `size` bytes."""
    return min(SEGMENT_BYTES, size - number * SEGMENT_BYTES)


def whole(work: Iterable[Work], size: int) -> Iterator[PlannedSegment]:
    """A plan that reads whole segments."""
    for item in work:
        yield PlannedSegment(item, _stretches(item, length_of(item.number, size)))


def increment(changed: Iterable[Extent], base: MapReader) -> Iterator[PlannedSegment]:
    """A plan that reads the changed extents, and of the source at most as many bytes again."""
    allowance, base.leaves_kept = _Allowance(base.place_of), _LEAVES_KEPT
    base.expect([base.root.root], PAGES_BEFORE)
    for window in _windows(changed, base.root.size):
        base.expect(base.page(0, leaf) for leaf in sorted({_leaf(number) for number, _ in window}))
        items = [Work(number, _old(base, number), spans) for number, spans in window]
        plan = [*whole(items, base.root.size)]
        plan = allowance.spent_on(plan)
        base.expect(ref for planned in plan for ref in _of_base(planned))
        yield from plan


def _leaf(segment: int) -> int:
    return segment // LEAF_SEGMENTS


def _old(base: MapReader, segment: int) -> Pieces:
    return base.leaf(_leaf(segment))[segment % LEAF_SEGMENTS]


_Touched = tuple[int, list[tuple[int, int]]]  # a segment and its changed spans


def _windows(changed: Iterable[Extent], size: int) -> Iterator[list[_Touched]]:
    """The segments that the changed extents touch, as many as are planned together."""
    window: list[_Touched] = []
    leaves, last = 0, -1
    for number, ranges in groupby(per_segment(changed, size), lambda item: item[0]):
        if len(window) == _SEGMENTS or (leaves == _LEAVES and _leaf(number) != last):
            yield window
            window, leaves, last = [], 0, -1
        leaves += _leaf(number) != last
        last = _leaf(number)
        window.append((number, [(low, high) for _, low, high in ranges]))
    if window:
        yield window


def _stretches(item: Work, length: int) -> list[PieceRun]:
    """The spans widened to the borders of the old pieces; adjacent stretches are joined."""
    result: list[PieceRun] = []
    for low, high in item.spans:
        span = (low, min(high, length))
        if item.old is not None:
            low, high = _widened(item.old, low, high)
        high = min(high, length)
        if result and low <= result[-1].high:
            last = result.pop()
            low, high, spans = last.low, max(high, last.high), [*last.spans, span]
        else:
            spans = [span]
        result.append(PieceRun(low, high, spans))
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


def places(old: Pieces, low: int, high: int) -> Iterator[tuple[int, int, ChunkRef]]:
    """(from, to, ref) of each old piece that lies within a stretch; the last piece ends with the
    stretch.
    """
    at = 0
    for piece in old:
        end = at + piece.length
        if low <= at < high:
            yield at, min(end, high), piece.ref
        at = end


def _needs(old: Pieces | None, stretch: PieceRun) -> Iterator[tuple[int, int, ChunkRef]]:
    """(from, to, ref) of the bytes of the base in the gaps of a stretch."""
    gaps = stretch.gaps
    for at, end, ref in places(old or (), stretch.low, stretch.high) if gaps else ():
        for low, high in gaps if ref != HOLE else ():
            if low < end and at < high:
                yield max(low, at), min(high, end), ref


def _of_base(planned: PlannedSegment) -> Iterator[ChunkRef]:
    for stretch in planned.stretches:
        for _, _, ref in _needs(planned.work.old, stretch):
            yield ref


class _Allowance:
    """The number of bytes that may be read in addition to the changed bytes: as many as have
    changed.

    Reading a few more bytes is cheaper than loading and decompressing the group of a chunk.
    """

    def __init__(self, place_of: PlaceOf) -> None:
        self._left, self._place_of = 0, place_of

    def spent_on(self, plan: list[PlannedSegment]) -> list[PlannedSegment]:
        """The plan with the gaps that the source supplies; runs of groups supply the others."""
        needs = Counter[bytes]()
        for planned in plan:
            for stretch in planned.stretches:
                self._left += sum(high - low for low, high in stretch.spans)
                for low, high, ref in _needs(planned.work.old, stretch):
                    needs[ref.group] += high - low
        loaded = groups_of_base(needs, self._left, self._place_of)
        self._left -= sum(count for group, count in needs.items() if group not in loaded)
        return [
            planned._replace(
                stretches=[_supplied(planned.work.old, s, loaded) for s in planned.stretches]
            )
            for planned in plan
        ]


def _supplied(old: Pieces | None, stretch: PieceRun, loaded: Set[bytes]) -> PieceRun:
    """A stretch with more bytes from the source: all of its gaps, except data in the groups
    `loaded`.
    """
    more = [(low, high) for low, high, ref in _needs(old, stretch) if ref.group not in loaded]
    spans: list[tuple[int, int]] = []
    for low, high in sorted([*stretch.spans, *more]):
        if spans and low <= spans[-1][1]:
            low, high = spans[-1][0], max(high, spans.pop()[1])
        spans.append((low, high))
    return stretch._replace(spans=spans)
