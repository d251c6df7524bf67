"""A disk's map: a tree of content-addressed pages that gives the chunk of each place on the disk.

A leaf covers 16 segments of 1 MiB; an inner page 256 pages below it.  Pages are stored like chunks:
an increment writes only the pages above changed data and shares all others.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

from haulback.errors import Damaged
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.group import GROUP_ID_BYTES
from haulback.repository.keys import ID_BYTES

LEAF_SEGMENTS = 16  # segments of a leaf page: part of the format
FAN_OUT = 256  # children of a page: part of the format
LEAF_BYTES = LEAF_SEGMENTS * SEGMENT_BYTES
_REF = struct.Struct(f"<{ID_BYTES}s{GROUP_ID_BYTES}s")
_PIECE = struct.Struct(f"<{ID_BYTES}sIH")
_COUNT = struct.Struct("<H")


class ChunkRef(NamedTuple):
    """A stored chunk or page, and its group; HOLE stands for zeros."""

    id: bytes
    group: bytes


HOLE = ChunkRef(bytes(ID_BYTES), bytes(GROUP_ID_BYTES))


class SegmentPiece(NamedTuple):
    """A piece of a segment: `length` bytes of the chunk `ref`, or of zeros."""

    length: int
    ref: ChunkRef


Pieces = tuple[SegmentPiece, ...]
EMPTY: Pieces = (SegmentPiece(SEGMENT_BYTES, HOLE),)
EMPTY_LEAF: list[Pieces] = [EMPTY] * LEAF_SEGMENTS


class DiskMap(msgspec.Struct, frozen=True):
    """The root of a disk's map.  `depth` 0 is a single leaf; `size` in bytes."""

    size: int
    depth: int
    page: bytes
    group: bytes

    @property
    def root(self) -> ChunkRef:
        return ChunkRef(self.page, self.group)


def depth_for(size: int) -> int:
    """The number of levels of inner pages for a disk of `size` bytes."""
    leaves, depth = -(-size // LEAF_BYTES), 0
    while leaves > 1:
        leaves, depth = -(-leaves // FAN_OUT), depth + 1
    return depth


def span(depth: int) -> int:
    """The number of bytes that a page at `depth` covers."""
    return LEAF_BYTES * int(FAN_OUT**depth)


def pack_leaf(segments: list[Pieces]) -> bytes:
    """The bytes of a leaf: its table of groups, then each segment's pieces."""
    groups: dict[bytes, int] = {}
    body = []
    for pieces in segments:
        body.append(_COUNT.pack(len(pieces)))
        for length, ref in pieces:
            body.append(_PIECE.pack(ref.id, length, groups.setdefault(ref.group, len(groups))))
    return _COUNT.pack(len(groups)) + b"".join(groups) + b"".join(body)


def unpack_leaf(page: bytes | memoryview) -> list[Pieces]:
    """The segments of a leaf.  Raises Damaged when the page is malformed."""
    try:
        return _unpack_leaf(memoryview(page))
    except (struct.error, IndexError) as error:
        raise Damaged("a map page is malformed") from error


def _unpack_leaf(page: memoryview) -> list[Pieces]:
    (count,) = _COUNT.unpack_from(page)
    at = _COUNT.size + count * GROUP_ID_BYTES
    if at > len(page):
        raise Damaged("a map page is malformed")
    table = bytes(page[_COUNT.size : at])
    groups = [table[i : i + GROUP_ID_BYTES] for i in range(0, len(table), GROUP_ID_BYTES)]
    segments = []
    while at < len(page):
        (pieces,) = _COUNT.unpack_from(page, at)
        end = at + _COUNT.size + pieces * _PIECE.size
        rows = _PIECE.iter_unpack(page[at + _COUNT.size : end])
        segment = tuple(
            SegmentPiece(length, ChunkRef(chunk, groups[group])) for chunk, length, group in rows
        )
        if len(segment) != pieces or sum(p.length for p in segment) > SEGMENT_BYTES:
            raise Damaged("a map page is malformed")
        segments.append(segment)
        at = end
    if len(segments) > LEAF_SEGMENTS:
        raise Damaged("a map page has too many segments")
    return segments


def new_chunks(page: bytes | memoryview, older: bytes | memoryview | None) -> list[ChunkRef]:
    """The chunks of a leaf that an `older` leaf lacks, each once, in the order of the disk.

    Raises Damaged when a page is malformed.
    """
    chunks, table = _groups_by_chunk(page)
    known = _groups_by_chunk(older)[0] if older is not None else {}
    return [
        ChunkRef(chunk, table[group * GROUP_ID_BYTES : (group + 1) * GROUP_ID_BYTES])
        for chunk, group in chunks.items()
        if chunk not in known
    ]


def chunk_ids(page: bytes | memoryview) -> list[bytes]:
    """The ids of the chunks of a leaf, each once.  Raises Damaged when the page is malformed."""
    return list(_groups_by_chunk(page)[0])


def _groups_by_chunk(page: bytes | memoryview) -> tuple[dict[bytes, int], bytes]:
    """The group number of each chunk of a leaf, without holes, and the table of groups.

    Whole columns are checked at once: that takes a quarter of the time of `unpack_leaf`.
    """
    raw, groups_of, segments = bytes(page), dict[bytes, int](), 0
    try:
        (count,) = _COUNT.unpack_from(raw)
        table = raw[_COUNT.size : _COUNT.size + count * GROUP_ID_BYTES]
        at = _COUNT.size + count * GROUP_ID_BYTES
        is_sound = at <= len(raw)
        while is_sound and at < len(raw):
            (pieces,) = _COUNT.unpack_from(raw, at)
            at, end = at + _COUNT.size, at + _COUNT.size + pieces * _PIECE.size
            if pieces:
                ids, lengths, groups = zip(*_PIECE.iter_unpack(raw[at:end]), strict=True)
                is_sound = sum(lengths) <= SEGMENT_BYTES and max(groups) < count
                groups_of.update(zip(ids, groups, strict=True))
            at, segments = end, segments + 1
        is_sound = is_sound and at == len(raw) and segments <= LEAF_SEGMENTS
    except (struct.error, ValueError) as error:
        raise Damaged("a map page is malformed") from error
    if not is_sound:
        raise Damaged("a map page is malformed")
    groups_of.pop(HOLE.id, None)
    return groups_of, table


def pack_inner(children: list[ChunkRef]) -> bytes:
    return b"".join(_REF.pack(*child) for child in children)


def unpack_inner(page: bytes | memoryview) -> list[ChunkRef]:
    """The children of an inner page.  Raises Damaged when the page is malformed."""
    if len(page) % _REF.size or len(page) > FAN_OUT * _REF.size:
        raise Damaged("a map page is malformed")
    return [ChunkRef(*row) for row in _REF.iter_unpack(page)]
