"""Not believing a platform blindly: a few blocks that it calls unchanged are read all the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random, SystemRandom
from typing import NamedTuple

from haulback.drivers.source import Extent, Source
from haulback.repository.backup import is_zero
from haulback.repository.cut import SEGMENT_BYTES
from haulback.repository.keys import Keys
from haulback.repository.mapping import MapReader
from haulback.repository.pages import FAN_OUT, HOLE, LEAF_SEGMENTS, Ref
from haulback.units import KIB

STORED, ANYWHERE = 12, 4  # how many pieces are looked at
_HOLE_BYTES = 64 * KIB


class _Pick(NamedTuple):
    offset: int
    length: int
    ref: Ref


def is_true(
    source: Source,
    base: MapReader,
    changed: Iterable[Extent],
    keys: Keys,
    random: Random | None = None,
    *,
    stored: int = STORED,
    anywhere: int = ANYWHERE,
) -> bool:
    """Whether what is not in `changed` (ascending extents) is what `base` holds, by a sample.

    `stored` pieces are taken from what the base has bytes of, `anywhere` from all of the disk.
    """
    chance = random or SystemRandom()
    picks = [pick for _ in range(stored) if (pick := _some_stored(base, chance))]
    picks += [_anything(base, chance) for _ in range(anywhere) if base.root.size]
    return all(_holds(source, pick, keys) for pick in _untouched(sorted(set(picks)), changed))


def _some_stored(base: MapReader, chance: Random) -> _Pick | None:
    """A piece with bytes, found by going down the map at random; None in an empty one."""
    number = 0
    for depth in range(base.root.depth, 0, -1):
        children = base.children(depth, number)
        full = [i for i, child in enumerate(children) if child != HOLE]
        if not full:
            return None
        number = number * FAN_OUT + chance.choice(full)
    pieces = [
        pick
        for i, _ in enumerate(base.leaf(number))
        for pick in _pieces(base, number * LEAF_SEGMENTS + i)
        if pick.ref != HOLE
    ]
    return chance.choice(pieces) if pieces else None


def _anything(base: MapReader, chance: Random) -> _Pick:
    segments = -(-base.root.size // SEGMENT_BYTES)
    return chance.choice(list(_pieces(base, chance.randrange(segments))))


def _pieces(base: MapReader, segment: int) -> Iterator[_Pick]:
    """The pieces of a segment; of a hole as much as is worth reading."""
    at = segment * SEGMENT_BYTES
    for length, ref in base.leaf(segment // LEAF_SEGMENTS)[segment % LEAF_SEGMENTS]:
        within = min(length, base.root.size - at)
        if within > 0:
            yield _Pick(at, min(within, _HOLE_BYTES) if ref == HOLE else within, ref)
        at += length


def _untouched(picks: list[_Pick], changed: Iterable[Extent]) -> Iterator[_Pick]:
    """Those of the ascending picks that no extent touches."""
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
