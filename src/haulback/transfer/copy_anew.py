"""Copy of a backup between repositories of different keys: decrypted, and sealed anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from haulback.drivers.source import Extent
from haulback.errors import BaseGone, Damaged
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.mapping import MapReader
from haulback.repository.pages import EMPTY_LEAF, LEAF_SEGMENTS, DiskMap, Pieces
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.repository.writer import Writer
from haulback.transfer.copy_groups import CopyServices


class AnewCopy:
    """Stores the disks of a backup of `source` in `target`, like an export of a machine.

    `disks` are the stored disks after `copy`; `packs` and `stored` as in `GroupCopy`.
    """

    def __init__(self, source: Repository, target: Repository, services: CopyServices) -> None:
        self._source, self._target, self._services = source, target, services
        self.disks: tuple[ManifestDisk, ...] = ()
        self.packs: list[str] = []
        self.stored = 0

    def copy(self, manifest: Manifest, older: Manifest | None, origin: Manifest | None) -> None:
        """Store all data of a backup; `older` is a backup of the target.

        `origin` is the backup of the source that `older` is a copy of: only the differences
        between the two backups of the source are read.
        """
        services = self._services
        folder = services.folder / "anew"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        resources = services.resources
        writer = self._target.writer(folder, resources.pool, resources.disk, services.memory)
        try:
            self.disks = tuple(self._disks(manifest, older, origin, writer))
            staged = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        resources.confirm()
        if staged.packs:
            self.packs, self.stored = self._target.publish_portion(folder, staged), staged.stored
        shutil.rmtree(folder, ignore_errors=True)

    def _disks(
        self, manifest: Manifest, older: Manifest | None, origin: Manifest | None, writer: Writer
    ) -> Iterator[ManifestDisk]:
        reader = self._source.reader()
        pages = self._target.reader(thorough=False).chunk
        bases = {disk.name: disk.map for disk in older.disks} if older else {}
        origins = {disk.name: disk.map for disk in origin.disks} if origin else {}
        distrust = self._target.index().is_damaged
        for disk in manifest.disks:
            source = StoredDisk(disk.map, reader)
            base = None
            if old := bases.get(disk.name):
                was = origins.get(disk.name)
                changed = None
                if was and was.size == disk.map.size == old.size:
                    changed = differing(
                        MapReader(was, reader.chunk), MapReader(disk.map, reader.chunk)
                    )
                base = DiskBase(MapReader(old, pages), changed, distrust)
            stored = self._stored(source, writer, base)
            yield ManifestDisk(disk.name, stored, disk.format, disk.definition)

    def _stored(self, source: StoredDisk, writer: Writer, base: DiskBase | None) -> DiskMap:
        keys, resources = self._target.keys, self._services.resources
        try:
            return back_up_disk(source, writer, keys, resources, base)
        except (BaseGone, Damaged):
            if base is None:
                raise
        return back_up_disk(source, writer, keys, resources)  # the map of the base is damaged


def differing(old: MapReader, new: MapReader) -> Iterator[Extent]:
    """The extents in which two maps of one size may differ, ascending."""
    for number in _leaves(old.root, old, new):
        before, now = _leaf(old, number), _leaf(new, number)
        for i, (a, b) in enumerate(zip(before, now, strict=True)):
            at = (number * LEAF_SEGMENTS + i) * SEGMENT_BYTES
            if _places(a) != _places(b) and at < new.root.size:
                yield Extent(at, min(SEGMENT_BYTES, new.root.size - at))


def _places(pieces: Pieces) -> list[tuple[int, bytes]]:
    """The lengths and chunk ids of a segment: holes are of one id and of any length."""
    return [(piece.length, piece.ref.id) for piece in pieces]


def _leaf(reader: MapReader, number: int) -> list[Pieces]:
    return reader.leaf(number) or EMPTY_LEAF


def _leaves(root: DiskMap, old: MapReader, new: MapReader) -> Iterator[int]:
    """The numbers of leaves whose pages differ."""
    count = -(-root.size // (LEAF_SEGMENTS * SEGMENT_BYTES))
    for number in range(count):
        if old.page(0, number).id != new.page(0, number).id:
            yield number
