"""Healing of a backup from a location with another key: by place on the disk, chunk by chunk.

The ids of chunks and pages differ between keys, so that only the place of a chunk on its disk leads
to the same data at the other location.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from haulback.errors import BaseGone, Damaged
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.manifest import Manifest
from haulback.repository.mapping import MapReader
from haulback.repository.pages import (
    FAN_OUT,
    HOLE,
    LEAF_SEGMENTS,
    ChunkRef,
    DiskMap,
    Pieces,
    SegmentPiece,
    pack_inner,
    pack_leaf,
    unpack_inner,
    unpack_leaf,
)
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.transfer.portions import CopyServices, Portions


@dataclass(frozen=True)
class _Disk:
    """A disk at both locations: its map on the target; data and map at the source."""

    map: DiskMap
    data: StoredDisk
    pages: MapReader


class KeyHealing:
    """Stores the chunks and map pages again that a backup on `target` lacks and `source` supplies.

    Data that the target has is not read at the source.  `left` counts the chunks and pages that no
    location supplied; `packs` and `stored` are those of the published portions.
    """

    def __init__(self, source: Repository, target: Repository, services: CopyServices) -> None:
        self._keys, self._meter = target.keys, services.resources.meter
        self._elsewhere, self._reader = source.reader(), target.reader()
        self._index = target.index()
        self._portions = Portions(target, services)
        self.left = 0

    @property
    def packs(self) -> list[str]:
        """The names of the published packs."""
        return self._portions.packs

    @property
    def stored(self) -> int:
        """The size of the published packs in bytes."""
        return self._portions.stored

    def heal(self, manifest: Manifest, origin: Manifest) -> None:
        """Heal the backup `manifest` of the target from the backup `origin` of the source."""
        maps = {disk.name: disk.map for disk in origin.disks}
        load = self._elsewhere.chunk
        try:
            for disk in manifest.disks:
                other = maps.get(disk.name, disk.map)  # a map of the target: it supplies nothing
                data, pages = StoredDisk(other, self._elsewhere), MapReader(other, load)
                self._page(_Disk(disk.map, data, pages), disk.map.root, disk.map.depth, 0)
            self._portions.publish()
        except BaseException:
            self._portions.abandon()
            raise

    def _page(self, disk: _Disk, ref: ChunkRef, depth: int, number: int) -> None:
        """Heal the `number`-th page at `depth`, and all pages below."""
        if ref == HOLE:
            return
        try:
            page = self._reader.chunk(ref)
        except (BaseGone, Damaged):
            self._rebuild(disk, ref, depth, number)
            return
        if self._portions.writer.lacks([ref.id]):
            self._portions.writer.add_page(bytes(page))
        if depth == 0:
            self._leaf(disk, unpack_leaf(page), number)
            return
        for i, child in enumerate(unpack_inner(page)):
            self._page(disk, child, depth - 1, number * FAN_OUT + i)

    def _leaf(self, disk: _Disk, segments: list[Pieces], number: int) -> None:
        ids = {piece.ref.id for pieces in segments for piece in pieces if piece.ref != HOLE}
        lacks = self._portions.writer.lacks([*ids])
        for offset, piece in _in_order(segments, number):
            if piece.ref.id in lacks:
                lacks.remove(piece.ref.id)
                self._chunk(disk, piece, offset)
        self._publish_if_full()

    def _publish_if_full(self) -> None:
        if self._portions.is_full:
            self._portions.publish()

    def _chunk(self, disk: _Disk, piece: SegmentPiece, offset: int) -> None:
        data = self._of_source(disk, piece, offset)
        try:  # a place that is recorded as damaged may be readable again
            data = self._reader.chunk(piece.ref) if data is None else data
        except (BaseGone, Damaged):
            self.left += 1
            return
        self._portions.writer.add([(piece.ref.id, data)])

    def _of_source(self, disk: _Disk, piece: SegmentPiece, offset: int) -> memoryview | None:
        """The bytes of a chunk of the target from the source, or None."""
        try:
            data = self._read(disk, offset, piece.length)
        except (BaseGone, Damaged):
            return None
        return data if self._keys.chunk_id(data) == piece.ref.id else None

    def _read(self, disk: _Disk, offset: int, length: int) -> memoryview:
        """A range of the disk at the source.  Raises Damaged or BaseGone."""
        data = memoryview(bytearray(length))
        if offset + length > disk.data.size:
            raise Damaged("the disk is shorter at the other location")
        disk.data.read_into(offset, data)
        self._meter(length)
        return data

    def _rebuild(self, disk: _Disk, ref: ChunkRef, depth: int, number: int) -> None:
        """Make a lost page, and all pages below, from the data of the source."""
        try:
            made = self._made(disk, depth, number)
        except (BaseGone, Damaged):
            self.left += 1
            return
        # A rebuilt page with another id names other groups or borders, so it is not the lost page.
        self.left += made.id != ref.id

    def _made(self, disk: _Disk, depth: int, number: int) -> ChunkRef:
        """A page for the target from the page of the source; all pages below are made first."""
        if disk.pages.root.size != disk.map.size:
            raise Damaged("the disk has another size at the other location")
        if disk.pages.page(depth, number) == HOLE:
            return HOLE
        if depth == 0:
            page = pack_leaf(list(self._translated(disk, number)))
            self._publish_if_full()
        else:
            children = range(number * FAN_OUT, (number + 1) * FAN_OUT)
            page = pack_inner([self._made(disk, depth - 1, child) for child in children])
        return self._named(self._portions.writer.add_page(page))

    def _translated(self, disk: _Disk, number: int) -> Iterator[Pieces]:
        """The segments of a leaf of the source, with references to the target."""
        at = number * LEAF_SEGMENTS * SEGMENT_BYTES
        for pieces in disk.pages.leaf(number):
            yield tuple(self._pieces(disk, pieces, at))
            at += SEGMENT_BYTES

    def _pieces(self, disk: _Disk, pieces: Pieces, offset: int) -> Iterator[SegmentPiece]:
        for length, ref in pieces:
            if ref == HOLE:
                yield SegmentPiece(length, HOLE)
            else:
                data = self._read(disk, offset, length)
                [new] = self._portions.writer.add([(self._keys.chunk_id(data), data)])
                yield SegmentPiece(length, self._named(new))
            offset += length

    def _named(self, ref: ChunkRef) -> ChunkRef:
        """The reference with the oldest known group: the lost page most likely names that group."""
        groups = self._index.groups_of(ref.id)
        return ChunkRef(ref.id, groups[-1]) if groups else ref


def _in_order(segments: list[Pieces], number: int) -> Iterator[tuple[int, SegmentPiece]]:
    """The pieces of a leaf, each with its offset on the disk in bytes."""
    for i, pieces in enumerate(segments):
        offset = (number * LEAF_SEGMENTS + i) * SEGMENT_BYTES
        for piece in pieces:
            yield offset, piece
            offset += piece.length
