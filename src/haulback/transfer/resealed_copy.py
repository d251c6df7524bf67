"""Copy of a backup between repositories with different keys: decrypted, and sealed again.

The chunks and the compressed data of the source are kept; ids, groups and map pages are new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from haulback.errors import BaseGone, Damaged
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.mapping import MapReader, rewrite
from haulback.repository.pages import (
    EMPTY_LEAF,
    HOLE,
    LEAF_SEGMENTS,
    ChunkRef,
    DiskMap,
    Pieces,
    SegmentPiece,
)
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.transfer.copy_groups import is_whole
from haulback.transfer.portions import CopyServices, Portions
from haulback.transfer.reseal import ForeignChunks, ForeignGroup

_SEGMENTS_AT_ONCE = 256  # segments whose chunks are read together: about 4,000 chunks
_KNOWN = 1 << 16  # chunks whose new references are cached: about 15 MB


class ResealedCopy:
    """Stores the disks of a backup of `source` in `target`, and publishes the data in portions.

    `disks` are the stored disks after `copy`.
    """

    def __init__(self, source: Repository, target: Repository, services: CopyServices) -> None:
        self._source, self._target, self._services = source, target, services
        self._chunks = ForeignChunks(source, target, services.resources)
        look = target.look()
        self._portions, self._is_damaged = Portions(target, services, look), look.index().is_damaged
        self._known: dict[bytes, ChunkRef] = {}  # the references on the target by the source's ids
        self.disks: tuple[ManifestDisk, ...] = ()

    @property
    def packs(self) -> list[str]:
        """The names of the published packs."""
        return self._portions.packs

    @property
    def stored(self) -> int:
        """The size of the published packs in bytes."""
        return self._portions.stored

    def copy(self, manifest: Manifest, older: Manifest | None, origin: Manifest | None) -> None:
        """Store all data of a backup; `older` is a backup of the target.

        `origin` is the backup on the source of which `older` is a copy: only the differences
        between the two backups on the source are read.  Without `origin`, an `older` backup
        supplies the borders of chunks.  Raises BaseGone or Damaged if the source lacks data;
        published portions stay, and another attempt finds their chunks.
        """
        try:
            self.disks = tuple(self._disks(manifest, older, origin))
            self._portions.publish()
        except BaseException:
            self._portions.abandon()
            raise

    def _disks(
        self, manifest: Manifest, older: Manifest | None, origin: Manifest | None
    ) -> Iterator[ManifestDisk]:
        load = self._chunks.reader.chunk
        pages = self._target.reader(thorough=False, look=self._portions.look).chunk
        bases = {disk.name: disk.map for disk in older.disks} if older else {}
        origins = {disk.name: disk.map for disk in origin.disks} if origin else {}
        for disk in manifest.disks:
            old, was = bases.get(disk.name), origins.get(disk.name)
            source = MapReader(disk.map, load)
            if old is None:
                stored = self._translated(source)
            elif was and was.size == disk.map.size == old.size and not self._is_damaged:
                stored = self._changed(source, MapReader(was, load), MapReader(old, pages))
            else:
                stored = self._cut_like(disk.map, MapReader(old, pages))
            yield ManifestDisk(disk.name, stored, disk.format, disk.definition)

    def _changed(self, source: MapReader, was: MapReader, old: MapReader) -> DiskMap:
        """Store a disk as changes of `was`, or the whole disk if the map of the base `old` is
        damaged.
        """
        try:
            return self._translated(source, _Base(was, old))
        except (BaseGone, Damaged):
            return self._translated(source)

    def _cut_like(self, disk: DiskMap, old: MapReader) -> DiskMap:
        """A disk with the chunk borders of another disk, so that equal chunks get equal ids."""
        resources, reader = self._services.resources, self._chunks.reader
        base = DiskBase(old, None, self._is_damaged)
        keys, source = self._target.keys, StoredDisk(disk, reader)
        try:
            return back_up_disk(source, self._portions.writer, keys, resources, base)
        except (BaseGone, Damaged):  # the map of the base is damaged
            return back_up_disk(source, self._portions.writer, keys, resources)

    def _translated(self, source: MapReader, base: _Base | None = None) -> DiskMap:
        """A disk with the chunk borders of the source."""
        work = _differing(base.was, source) if base else _all(source)
        segments = self._all_segments(iter(work), base)
        return rewrite(
            source.root.size,
            base.old if base else None,
            segments,
            lambda page: self._portions.writer.add_page(page),
        )

    def _all_segments(
        self, work: Iterator[tuple[int, Pieces]], base: _Base | None
    ) -> Iterator[tuple[int, Pieces]]:
        while batch := list(islice(work, _SEGMENTS_AT_ONCE)):
            yield from self._segments(batch, base)

    def _segments(
        self, work: Sequence[tuple[int, Pieces]], base: _Base | None
    ) -> Iterator[tuple[int, Pieces]]:
        """The segments of the source with references to the target."""
        refs: dict[bytes, ChunkRef] = {}
        for number, _ in work:
            refs |= base.kept(number) if base else {}
        lacking = {
            piece.ref.id: piece.ref
            for _, pieces in work
            for piece in pieces
            if piece.ref != HOLE and piece.ref.id not in refs
        }
        refs |= {chunk: self._known[chunk] for chunk in lacking if chunk in self._known}
        for group, wanted in self._chunks.read([r for c, r in lacking.items() if c not in refs]):
            refs |= self._store(group, wanted)
        self._remember(refs)
        yield from ((number, _renamed(pieces, refs)) for number, pieces in work)
        self._services.resources.meter(sum(p.length for _, pieces in work for p in pieces))
        if self._portions.is_full:
            self._portions.publish()

    def _remember(self, refs: Mapping[bytes, ChunkRef]) -> None:
        if len(self._known) > _KNOWN:
            self._known.clear()
        self._known.update(refs)

    def _store(self, group: ForeignGroup, wanted: set[bytes]) -> dict[bytes, ChunkRef]:
        """Store the wanted chunks of a group; its compressed data is kept if all chunks are new."""
        writer, ids = self._portions.writer, group.ids
        if is_whole(group, wanted) and len(writer.lacks([*ids.values()])) == len(ids):
            places = {ids[chunk]: place for chunk, place in group.places.items()}
            writer.add_frame(places, group.frame)
        order = sorted(wanted, key=lambda chunk: group.places[chunk])
        refs = writer.add([(ids[chunk], group.chunk(chunk)) for chunk in order])
        return dict(zip(order, refs, strict=True))


class _Base(NamedTuple):
    """The older backup of the source, and its copy on the target."""

    was: MapReader
    old: MapReader

    def kept(self, number: int) -> dict[bytes, ChunkRef]:
        """References on the target to the chunks of a segment, by the source's ids."""
        before, copied = _segment(self.was, number), _segment(self.old, number)
        if [piece.length for piece in before] != [piece.length for piece in copied]:
            return {}
        pairs = zip(before, copied, strict=True)
        return {a.ref.id: b.ref for a, b in pairs if a.ref != HOLE and b.ref != HOLE}


def _segment(disk: MapReader, number: int) -> Pieces:
    return _leaf(disk, number // LEAF_SEGMENTS)[number % LEAF_SEGMENTS]


def _renamed(pieces: Pieces, refs: Mapping[bytes, ChunkRef]) -> Pieces:
    return tuple(
        SegmentPiece(piece.length, HOLE if piece.ref == HOLE else refs[piece.ref.id])
        for piece in pieces
    )


def _all(disk: MapReader) -> Iterator[tuple[int, Pieces]]:
    """Every segment with data."""
    for number, leaf in disk.leaves():
        for i, pieces in enumerate(leaf):
            if any(piece.ref != HOLE for piece in pieces):
                yield number * LEAF_SEGMENTS + i, pieces


def _differing(old: MapReader, new: MapReader) -> Iterator[tuple[int, Pieces]]:
    """The segments of a map that another map of its size lacks."""
    for number in _leaves(old.root, old, new):
        before, now = _leaf(old, number), _leaf(new, number)
        for i, (a, b) in enumerate(zip(before, now, strict=True)):
            at = number * LEAF_SEGMENTS + i
            if _places(a) != _places(b) and at * SEGMENT_BYTES < new.root.size:
                yield at, b


def _places(pieces: Pieces) -> list[tuple[int, bytes]]:
    """The lengths and chunk ids of a segment; all holes have the same id."""
    return [(piece.length, piece.ref.id) for piece in pieces]


def _leaf(reader: MapReader, number: int) -> list[Pieces]:
    return reader.leaf(number) or EMPTY_LEAF


def _leaves(root: DiskMap, old: MapReader, new: MapReader) -> Iterator[int]:
    """The numbers of leaves whose pages differ."""
    count = -(-root.size // (LEAF_SEGMENTS * SEGMENT_BYTES))
    for number in range(count):
        if old.page(0, number).id != new.page(0, number).id:
            yield number
