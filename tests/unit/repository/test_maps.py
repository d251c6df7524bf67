"""A disk's map names the chunk of each byte, and shares the pages that did not change."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.errors import Damaged
from haulback.repository.mapping import MapReader, rewrite
from haulback.repository.pages import (
    EMPTY,
    FAN_OUT,
    HOLE,
    LEAF_BYTES,
    LEAF_SEGMENTS,
    ChunkRef,
    DiskMap,
    Pieces,
    SegmentPiece,
    chunk_ids,
    depth_for,
    new_chunks,
    pack_inner,
    pack_leaf,
    span,
    unpack_inner,
    unpack_leaf,
)

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40


def chunk(number: int) -> ChunkRef:
    """A chunk that is not zeros."""
    return ChunkRef(number.to_bytes(20, "big"), (number % 7 + 1).to_bytes(12, "big"))


def piece(*numbers: int) -> Pieces:
    """A segment of equal pieces."""
    return tuple(SegmentPiece(MIB // len(numbers), chunk(number)) for number in numbers)


class Pages:
    """Stored pages; counts what is loaded and what is added."""

    def __init__(self) -> None:
        self.stored: dict[ChunkRef, bytes] = {}
        self.loads: Counter[ChunkRef] = Counter()
        self.added = 0

    def add(self, page: bytes) -> ChunkRef:
        self.added += 1
        ref = ChunkRef(hashlib.sha1(page).digest(), b"g" * 12)
        self.stored[ref] = page
        return ref

    def load(self, ref: ChunkRef) -> memoryview:
        self.loads[ref] += 1
        return memoryview(self.stored[ref])

    def reader(self, root: DiskMap) -> MapReader:
        return MapReader(root, self.load)

    def segments(self, root: DiskMap) -> dict[int, Pieces]:
        """All segments of a map that are not zeros."""
        found = {}
        for number, leaf in self.reader(root).leaves():
            assert len(leaf) == LEAF_SEGMENTS
            for place, pieces in enumerate(leaf):
                if pieces != EMPTY:
                    found[number * LEAF_SEGMENTS + place] = pieces
        return found


SIZES = st.sampled_from([0, 1, MIB, 16 * MIB, 16 * MIB + 1, 4 * GIB, 4 * GIB + 1, TIB, TIB + 1])


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[dict[int, Pieces]]]:
    """A disk's size, and the segments that each of its backups replaces."""
    size = draw(st.sampled_from([16 * MIB, 300 * MIB, 5 * GIB, 2 * TIB]))
    last = size // MIB - 1
    places = st.integers(0, last) | st.sampled_from([0, last, last // 2, min(last, 16)])
    values = st.integers(1, 50).map(piece) | st.just(EMPTY)
    return size, draw(st.lists(st.dictionaries(places, values, max_size=6), max_size=4))


@given(histories())
def test_a_rewritten_map_holds_the_old_segments_and_the_new_ones(
    history: tuple[int, list[dict[int, Pieces]]],
):
    size, changes = history
    pages, wanted = Pages(), dict[int, Pieces]()
    base: MapReader | None = None
    for changed in changes:
        root = rewrite(size, base, sorted(changed.items()), pages.add)
        wanted = {n: p for n, p in {**wanted, **changed}.items() if p != EMPTY}
        assert (root.size, root.depth) == (size, depth_for(size))
        assert pages.segments(root) == wanted
        assert (root.root == HOLE) == (not wanted)
        base = pages.reader(root)


def test_a_rewrite_leaves_the_map_that_it_builds_on_as_it_was():
    pages = Pages()
    first = rewrite(5 * GIB, None, [(0, piece(1)), (5000, piece(2))], pages.add)
    base = pages.reader(first)
    rewrite(5 * GIB, base, [(0, piece(3)), (1, piece(4))], pages.add)
    assert base.leaf(0)[:2] == [piece(1), EMPTY]
    assert base.children(1, 0)[0] == base.page(0, 0)
    assert pages.segments(first) == {0: piece(1), 5000: piece(2)}


def test_a_change_writes_the_pages_on_the_way_to_it_and_no_others():
    pages = Pages()
    first = rewrite(2 * TIB, None, [(n * 4096, piece(n + 1)) for n in range(5)], pages.add)
    assert first.depth == 3
    pages.added = 0
    rewrite(2 * TIB, pages.reader(first), [(4096, piece(9))], pages.add)
    assert pages.added == 4
    rewrite(2 * TIB, pages.reader(first), [], pages.add)
    assert pages.added == 4


def test_a_map_without_changes_keeps_its_root():
    pages = Pages()
    first = rewrite(5 * GIB, None, [(0, piece(1))], pages.add)
    assert rewrite(5 * GIB, pages.reader(first), [], pages.add) == first
    assert rewrite(5 * GIB, None, [], pages.add) == DiskMap(5 * GIB, 2, *HOLE)


def test_zeros_are_stored_as_holes_up_to_the_root():
    pages = Pages()
    first = rewrite(5 * GIB, None, [(0, piece(1)), (5000, piece(2))], pages.add)
    pages.added = 0
    second = rewrite(5 * GIB, pages.reader(first), [(0, EMPTY)], pages.add)
    assert pages.added == 1
    assert pages.reader(second).page(1, 0) == HOLE
    assert rewrite(5 * GIB, pages.reader(second), [(5000, EMPTY)], pages.add).root == HOLE


def test_a_segment_of_which_a_part_is_zeros_is_no_hole():
    pages, half = Pages(), (SegmentPiece(MIB // 2, HOLE), SegmentPiece(MIB // 2, chunk(1)))
    root = rewrite(16 * MIB, None, [(3, half)], pages.add)
    assert pages.segments(root) == {3: half}


def test_a_map_never_builds_on_a_map_of_another_size():
    pages = Pages()
    base = pages.reader(rewrite(16 * MIB, None, [(0, piece(1))], pages.add))
    for size in (16 * MIB + 1, 15 * MIB):
        with pytest.raises(ValueError, match="same size"):
            rewrite(size, base, [], pages.add)


@given(st.sets(st.integers(0, 2 * TIB // LEAF_BYTES - 1), min_size=1, max_size=8), st.data())
def test_leaves_are_walked_from_any_place_on(numbers: set[int], data: st.DataObject):
    pages, ordered = Pages(), sorted(numbers)
    segments = [(number * LEAF_SEGMENTS, piece(number + 1)) for number in ordered]
    root = rewrite(2 * TIB, None, segments, pages.add)
    near = st.sampled_from(ordered).flatmap(lambda n: st.integers(max(0, n - 1), n + 1))
    first = data.draw(near | st.integers(0, 2 * TIB // LEAF_BYTES))
    found = [number for number, _ in pages.reader(root).leaves(first)]
    assert found == [number for number in ordered if number >= first]
    assert [number for number, _ in pages.reader(root).leaves()] == ordered


def test_a_walk_loads_each_page_once_and_passes_over_holes():
    pages = Pages()
    numbers = [0, 1, 255, 256, 70_000]
    root = rewrite(2 * TIB, None, [(n * 16, piece(n + 1)) for n in numbers], pages.add)
    assert [number for number, _ in pages.reader(root).leaves()] == numbers
    assert set(pages.loads.values()) == {1}
    assert len(pages.loads) == len(pages.stored)
    pages.loads.clear()
    assert [number for number, _ in pages.reader(root).leaves(70_000)] == [70_000]
    assert len(pages.loads) == 4


def test_a_reader_keeps_the_last_four_leaves():
    pages = Pages()
    root = rewrite(5 * GIB, None, [(n * 16, piece(n + 1)) for n in range(6)], pages.add)
    reader = pages.reader(root)
    for _ in range(3):
        for number in range(4):
            assert reader.leaf(number)[0] == piece(number + 1)
    assert sum(pages.loads.values()) == 4 + 2
    pages.loads.clear()
    reader.leaf(4)
    reader.leaf(1)
    assert sum(pages.loads.values()) == 1
    reader.leaf(0)
    assert sum(pages.loads.values()) == 2


def test_a_place_behind_the_end_of_a_map_is_a_hole():
    pages = Pages()
    reader = pages.reader(rewrite(16 * MIB, None, [(0, piece(1))], pages.add))
    assert reader.page(0, 0) != HOLE
    assert reader.page(0, 1) == HOLE
    assert reader.leaf(1) == [EMPTY] * LEAF_SEGMENTS
    large = pages.reader(rewrite(5 * GIB, None, [(0, piece(1))], pages.add))
    assert large.leaf(300) == [EMPTY] * LEAF_SEGMENTS
    assert large.children(1, 1) == [HOLE] * FAN_OUT
    assert len(large.children(1, 0)) == FAN_OUT
    assert large.children(1, 0)[1:] == [HOLE] * (FAN_OUT - 1)


@pytest.mark.parametrize(
    ("size", "depth"),
    [
        (0, 0),
        (1, 0),
        (16 * MIB, 0),
        (16 * MIB + 1, 1),
        (4 * GIB, 1),
        (4 * GIB + 1, 2),
        (TIB, 2),
        (TIB + 1, 3),
    ],
)
def test_a_map_is_as_deep_as_its_disk_needs(size: int, depth: int):
    assert depth_for(size) == depth


@given(st.integers(1, 1 << 60))
def test_a_root_covers_its_disk_and_no_root_is_a_level_too_high(size: int):
    depth = depth_for(size)
    assert span(depth) >= size
    assert depth == 0 or span(depth - 1) < size


def test_a_page_covers_sixteen_mebibytes_and_256_times_as_much_a_level_higher():
    assert (span(0), span(1), span(2)) == (16 * MIB, 4 * GIB, TIB)
    assert (FAN_OUT, LEAF_SEGMENTS, LEAF_BYTES) == (256, 16, 16 * MIB)
    assert ChunkRef(bytes(20), bytes(12)) == HOLE
    assert (SegmentPiece(MIB, HOLE),) == EMPTY
    assert DiskMap(1, 0, b"page", b"group").root == ChunkRef(b"page", b"group")


def test_the_bytes_of_a_leaf_are_those_of_the_format():
    """docs/design/repository-format.md: the groups, then the pieces of each segment."""
    one, two = chunk(1), chunk(2)
    page = pack_leaf([(SegmentPiece(MIB, one),), (SegmentPiece(3, two), SegmentPiece(4, one))])
    groups = struct.pack("<H", 2) + one.group + two.group
    first = struct.pack("<H", 1) + struct.pack("<20sIH", one.id, MIB, 0)
    second = struct.pack("<H", 2) + struct.pack("<20sIH", two.id, 3, 1)
    assert page == groups + first + second + struct.pack("<20sIH", one.id, 4, 0)


SEGMENTS = st.lists(
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(lambda numbers: piece(*numbers)),
    max_size=LEAF_SEGMENTS,
)


@given(SEGMENTS)
def test_a_leaf_is_read_as_it_was_written(segments: list[Pieces]):
    assert unpack_leaf(pack_leaf(segments)) == segments
    assert unpack_leaf(memoryview(pack_leaf(segments))) == segments


@given(SEGMENTS, SEGMENTS)
def test_the_new_chunks_of_a_leaf_are_those_that_the_older_leaf_lacks(
    now: list[Pieces], before: list[Pieces]
):
    old = {p.ref.id for pieces in before for p in pieces}
    refs = [p.ref for pieces in now for p in pieces if p.ref != HOLE]
    page = pack_leaf(now)
    assert chunk_ids(page) == list(dict.fromkeys(ref.id for ref in refs))
    new = new_chunks(page, pack_leaf(before))
    assert new == [ref for ref in dict.fromkeys(refs) if ref.id not in old]
    assert new_chunks(memoryview(page), None) == list(dict.fromkeys(refs))


@given(SEGMENTS, st.data())
def test_a_leaf_that_was_cut_is_damaged_or_shorter(segments: list[Pieces], data: st.DataObject):
    page = pack_leaf(segments)
    cut = data.draw(st.integers(0, len(page)))
    ends = {len(page) - len(pack_rows(segments[n:])) for n in range(len(segments) + 1)}
    if cut in ends:
        assert chunk_ids(page[:cut]) == list(dict.fromkeys(_ids(unpack_leaf(page[:cut]))))
        assert unpack_leaf(page[:cut]) == segments[: len(unpack_leaf(page[:cut]))]
    else:
        with pytest.raises(Damaged, match="map page"):
            unpack_leaf(page[:cut])
        with pytest.raises(Damaged, match="map page"):
            chunk_ids(page[:cut])


def _ids(segments: list[Pieces]) -> list[bytes]:
    return [p.ref.id for pieces in segments for p in pieces if p.ref != HOLE]


def pack_rows(segments: list[Pieces]) -> bytes:
    """The number of bytes that the rows of these segments take in a leaf."""
    return b"".join(bytes(2 + 26 * len(pieces)) for pieces in segments)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"\1",
        struct.pack("<H", 1) + bytes(11),
        # a piece of a group that the page does not list
        struct.pack("<HH20sIH", 0, 1, bytes(20), 5, 0),
        # two pieces announced, but only one present
        struct.pack("<H12sH20sIH", 1, bytes(12), 2, bytes(20), 5, 0),
        # half of a piece
        struct.pack("<H12sH", 1, bytes(12), 1) + bytes(13),
        struct.pack("<H12sB", 1, bytes(12), 1),
    ],
)
def test_a_leaf_that_makes_no_sense_is_damaged(page: bytes):
    for read in (unpack_leaf, chunk_ids):
        with pytest.raises(Damaged, match="map page"):
            read(page)


def test_a_segment_holds_a_mebibyte_at_most():
    whole = (SegmentPiece(MIB - 1, chunk(1)), SegmentPiece(1, chunk(2)))
    assert unpack_leaf(pack_leaf([whole])) == [whole]
    with pytest.raises(Damaged, match="map page"):
        unpack_leaf(pack_leaf([(*whole, SegmentPiece(1, chunk(1)))]))


def test_a_leaf_holds_sixteen_segments_at_most():
    assert len(unpack_leaf(pack_leaf([EMPTY] * 16))) == 16
    with pytest.raises(Damaged, match="map page"):
        unpack_leaf(pack_leaf([EMPTY] * 17))


def test_the_bytes_of_an_inner_page_are_its_references_one_by_one():
    one, two = chunk(1), chunk(2)
    assert pack_inner([one, two]) == one.id + one.group + two.id + two.group


@given(st.lists(st.integers(0, 99).map(chunk), max_size=FAN_OUT))
def test_an_inner_page_is_read_as_it_was_written(children: list[ChunkRef]):
    assert unpack_inner(pack_inner(children)) == children


@pytest.mark.parametrize("length", [1, 31, 33, 32 * 256 - 1, 32 * 257])
def test_an_inner_page_of_another_length_is_damaged(length: int):
    assert len(unpack_inner(bytes(32 * 256))) == 256
    with pytest.raises(Damaged, match="map page"):
        unpack_inner(bytes(length))
