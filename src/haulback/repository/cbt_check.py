"""A spot check of the platform's change tracking: a sample of unchanged pieces is read.

A piece that is stored is compared by its id, so that nothing is loaded from the destination.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random, SystemRandom
from typing import NamedTuple

from haulback.drivers.source import Extent, Source
from haulback.repository.backup import is_zero
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.keys import Keys
from haulback.repository.mapping import MapReader
from haulback.repository.pages import FAN_OUT, HOLE, LEAF_SEGMENTS, ChunkRef
from haulback.units import KIB

STORED, ANYWHERE = 12, 4  # the most pieces that are read
_EACH = 64 * KIB  # bytes of a piece that are read, on average at most


class _Pick(NamedTuple):
    """A stored piece, or a window of a hole, by its offset on the disk."""

    offset: int
    length: int
    ref: ChunkRef


class Sample(NamedTuple):
    """The numbers of pieces to read: `stored` from the base's data, `anywhere` from the disk.

    `random` chooses the pieces; None stands for the random numbers of the system.
    """

    stored: int = STORED
    anywhere: int = ANYWHERE
    random: Random | None = None

    @property
    def bytes(self) -> int:
        """The most bytes to read."""
        return (self.stored + self.anywhere) * _EACH


_USUAL = Sample()


def is_true(
    source: Source,
    base: MapReader,
    changed: Iterable[Extent],
    keys: Keys,
    sample: Sample = _USUAL,
) -> bool:
    """Whether a sample of the data outside `changed` (ascending extents) equals the base."""
    chance = sample.random or SystemRandom()
    picks = [_anything(base, chance) for _ in range(sample.anywhere) if base.root.size]
    picks += [pick for _ in range(sample.stored) if (pick := _some_stored(base, chance))]
    few = _within(sample.bytes, dict.fromkeys(picks))
    return all(_holds(source, pick, keys) for pick in _untouched(sorted(few), changed))


def _within(most: int, picks: Iterable[_Pick]) -> Iterator[_Pick]:
    """The first picks that have `most` bytes together; a pick that is too long is skipped."""
    for pick in picks:
        if pick.length <= most:
            most -= pick.length
            yield pick


def _some_stored(base: MapReader, chance: Random) -> _Pick | None:
    """A random piece with data, found by walking down the map; None in an empty map."""
    number = 0
    for depth in range(base.root.depth, 0, -1):
        children = base.children(depth, number)
        full = [i for i, child in enumerate(children) if child != HOLE]
        if not full:
            return None
        number = number * FAN_OUT + chance.choice(full)
    full = [i for i, pieces in enumerate(base.leaf(number)) if any(p.ref != HOLE for p in pieces)]
    if not full:
        return None
    segment = number * LEAF_SEGMENTS + chance.choice(full)
    stored = [pick for pick in _pieces(base, segment, chance) if pick.ref != HOLE]
    return chance.choice(stored) if stored else None


def _anything(base: MapReader, chance: Random) -> _Pick:
    segments = -(-base.root.size // SEGMENT_BYTES)
    return chance.choice(list(_pieces(base, chance.randrange(segments), chance)))


def _pieces(base: MapReader, segment: int, chance: Random) -> Iterator[_Pick]:
    """The stored pieces of a segment, and a window of each hole."""
    at = segment * SEGMENT_BYTES
    for length, ref in base.leaf(segment // LEAF_SEGMENTS)[segment % LEAF_SEGMENTS]:
        held = min(length, base.root.size - at)
        if held > 0 and ref != HOLE:
            yield _Pick(at, held, ref)
        elif held > 0:
            within = chance.randrange(-(-held // _EACH)) * _EACH
            yield _Pick(at + within, min(held - within, _EACH), ref)
        at += length


def _untouched(picks: list[_Pick], changed: Iterable[Extent]) -> Iterator[_Pick]:
    """The picks outside the changed extents, in ascending order."""
    extents = iter(changed)
    extent = next(extents, None)
    for pick in picks:
        while extent and extent.offset + extent.length <= pick.offset:
            extent = next(extents, None)
        if extent is None or extent.offset >= pick.offset + pick.length:
            yield pick


def _holds(source: Source, pick: _Pick, keys: Keys) -> bool:
    data = memoryview(bytearray(pick.length))
    source.read_into(pick.offset, data)
    return is_zero(data) if pick.ref == HOLE else keys.chunk_id(data) == pick.ref.id
