"""Rewriting a disk's map: replaced segments stream in, rewritten pages stream up to a new root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Protocol

from haulback.repository.base_runs import PlaceOf, written_place
from haulback.repository.pages import (
    EMPTY,
    EMPTY_LEAF,
    FAN_OUT,
    HOLE,
    LEAF_SEGMENTS,
    ChunkRef,
    DiskMap,
    Pieces,
    depth_for,
    pack_inner,
    pack_leaf,
    unpack_inner,
    unpack_leaf,
)
from haulback.units import KIB

PAGES_BEFORE = 256 * KIB  # bytes before the root in its pack, which hold most pages of its backup
LoadPage = Callable[[ChunkRef], memoryview]
AddPage = Callable[[bytes], ChunkRef]
_LEAVES_KEPT = 4  # decoded leaves in memory; a walk needs only adjacent leaves


class Expect(Protocol):
    """A listener for the chunks and pages that are loaded next.

    `before` is the number of bytes in front of each chunk in its pack that are needed, too.
    """

    def __call__(self, refs: Iterable[ChunkRef], before: int = 0) -> None:
        """Hear the references."""


def _unheard(refs: Iterable[ChunkRef], before: int = 0) -> None:
    """Ignore the references."""


class MapReader:
    """The pages of a stored map, with one path kept in memory: memory stays constant for any disk
    size.

    `load` returns any stored chunk or page; threads may share `load`, not the reader.  `expect` is
    called with the chunks and pages that are loaded next, and `place_of` returns the place of a
    group.
    """

    def __init__(
        self,
        root: DiskMap,
        load: LoadPage,
        expect: Expect = _unheard,
        place_of: PlaceOf = written_place,
    ) -> None:
        self.root, self.load, self.expect, self.place_of = root, load, expect, place_of
        self.leaves_kept = _LEAVES_KEPT
        self._path: dict[int, tuple[int, list[ChunkRef]]] = {}
        self._leaves: dict[int, list[Pieces]] = {}

    def page(self, depth: int, number: int) -> ChunkRef:
        """The reference of the `number`-th page at `depth` (0 are leaves)."""
        if depth == self.root.depth:
            return self.root.root if number == 0 else HOLE
        children = self.children(depth + 1, number // FAN_OUT)
        return children[number % FAN_OUT]

    def children(self, depth: int, number: int) -> list[ChunkRef]:
        """The children of an inner page, padded with HOLE."""
        known = self._path.get(depth)
        if known and known[0] == number:
            return known[1]
        ref = self.page(depth, number)
        found = [] if ref == HOLE else unpack_inner(self.load(ref))
        children = found + [HOLE] * (FAN_OUT - len(found))
        self._path[depth] = (number, children)
        return children

    def leaf(self, number: int) -> list[Pieces]:
        """The segments of a leaf, padded with EMPTY; callers must not change the list."""
        if number in self._leaves:
            return self._leaves[number]
        ref = self.page(0, number)
        found = [] if ref == HOLE else unpack_leaf(self.load(ref))
        while len(self._leaves) >= self.leaves_kept:
            del self._leaves[next(iter(self._leaves))]
        self._leaves[number] = found + [EMPTY] * (LEAF_SEGMENTS - len(found))
        return self._leaves[number]

    def leaves(self, first: int = 0) -> Iterator[tuple[int, list[Pieces]]]:
        """Leaves from `first` on that are not all zeros; holes are skipped at every level."""
        for number in self._below(self.root.depth, 0, first):
            yield number, self.leaf(number)

    def _below(self, depth: int, number: int, first: int) -> Iterator[int]:
        if (number + 1) * FAN_OUT**depth <= first or self.page(depth, number) == HOLE:
            return
        if depth == 0:
            yield number
            return
        for i in range(FAN_OUT):
            yield from self._below(depth - 1, number * FAN_OUT + i, first)


def rewrite(
    size: int,
    base: MapReader | None,
    segments: Iterable[tuple[int, Pieces]],
    add: AddPage,
) -> DiskMap:
    """The map of a disk of `size` bytes: the map of `base` with other `segments` (ascending)."""
    depth = depth_for(size)
    if base is not None and base.root.size != size:
        raise ValueError("a map can only build on a map of a disk of the same size")
    changed: Iterable[tuple[int, ChunkRef]] = _leaves(base, segments, add)
    for level in range(1, depth + 1):
        changed = _inner(base, level, changed, add)
    root = base.root.root if base else HOLE
    for _, ref in changed:
        root = ref
    return DiskMap(size, depth, root.id, root.group)


def _leaves(
    base: MapReader | None, segments: Iterable[tuple[int, Pieces]], add: AddPage
) -> Iterator[tuple[int, ChunkRef]]:
    for number, group in groupby(segments, lambda item: item[0] // LEAF_SEGMENTS):
        leaf = list(base.leaf(number)) if base else list(EMPTY_LEAF)
        for segment, pieces in group:
            leaf[segment % LEAF_SEGMENTS] = pieces
        empty = all(ref == HOLE for pieces in leaf for _, ref in pieces)
        yield number, HOLE if empty else add(pack_leaf(leaf))


def _inner(
    base: MapReader | None, depth: int, changed: Iterable[tuple[int, ChunkRef]], add: AddPage
) -> Iterator[tuple[int, ChunkRef]]:
    for number, group in groupby(changed, lambda item: item[0] // FAN_OUT):
        children = list(base.children(depth, number)) if base else [HOLE] * FAN_OUT
        for child, ref in group:
            children[child % FAN_OUT] = ref
        empty = all(child == HOLE for child in children)
        yield number, HOLE if empty else add(pack_inner(children))
