"""The data loss of one backup: its disks, the lost bytes of each, and the damaged objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from haulback.errors import BaseGone, Damaged
from haulback.repository.chunker import SEGMENT_BYTES
from haulback.repository.damage import DamagedPlace
from haulback.repository.index import Index
from haulback.repository.manifest import Manifest
from haulback.repository.pack import GroupLocation
from haulback.repository.pack_lookup import UnindexedCopies
from haulback.repository.pages import (
    FAN_OUT,
    HOLE,
    LEAF_SEGMENTS,
    ChunkRef,
    DiskMap,
    Pieces,
    span,
    unpack_inner,
    unpack_leaf,
)
from haulback.repository.reader import LoadChunk, Reader
from haulback.repository.repository import Repository
from haulback.repository.resources import Meter, unmetered
from haulback.units import MIB

_OBJECTS_NAMED = 50  # objects that a message lists
_GROUPS_KNOWN = 1 << 16
_PAGES_KNOWN = 1 << 18  # 40 MB of memory: enough for the leaves of a 4 TiB disk


class DiskLoss(msgspec.Struct, frozen=True):
    """Bytes of one disk that cannot be read."""

    name: str
    bytes: int


class BackupLoss(msgspec.Struct, frozen=True):
    """The disks of a backup that lack data, and the objects that cause the loss (at most 50)."""

    backup: str
    disks: list[DiskLoss]
    objects: list[str]

    @property
    def bytes(self) -> int:
        """The number of lost bytes of all disks."""
        return sum(disk.bytes for disk in self.disks)

    def __str__(self) -> str:
        """The object names as readable text."""
        disks = ", ".join(f"{disk.name} ({disk.bytes / MIB:.1f} MiB)" for disk in self.disks)
        objects = "; ".join(self.objects[:5])
        return f"backup {self.backup} lacks data of {disks}: {objects}"


def assess(
    repository: Repository,
    manifest: Manifest,
    meter: Meter = unmetered,
    *,
    thorough: bool = True,
) -> BackupLoss | None:
    """The data loss of a backup; None when everything a restore needs is stored.

    Damage that is recorded, or that the repository's readers noted, counts; no data is read.
    `meter` gets the number of disk bytes covered.  A `thorough` assessment accepts the groups that
    maps name and reads pack directories, as a restore does; otherwise a chunk that the index does
    not find counts as lost.
    """
    return Assessor(repository, thorough=thorough).loss(manifest, meter)


def check_backup(
    repository: Repository,
    backup: str,
    meter: Meter = unmetered,
    skip: Collection[str] = (),
    *,
    thorough: bool = True,
) -> None:
    """Check that everything a restore of `backup` needs is stored, without reading the data.

    `meter` gets the number of disk bytes covered; `skip` lists names of disks to leave out;
    `thorough` as in `assess`.
    Raises NotFound or Damaged.
    """
    _check(Assessor(repository, thorough=thorough), repository.manifest(backup), meter, skip)


def check_together(
    repositories: Sequence[Repository],
    backup: str,
    meter: Meter = unmetered,
    skip: Collection[str] = (),
) -> None:
    """Check that the repositories of a family together hold a backup of the first of them.

    Raises as `check_backup`.
    """
    first, *others = repositories
    _check(Assessor(first, others=others), first.manifest(backup), meter, skip)


def _check(assessor: Assessor, manifest: Manifest, meter: Meter, skip: Collection[str]) -> None:
    wanted = tuple(disk for disk in manifest.disks if disk.name not in skip)
    loss = assessor.loss(msgspec.structs.replace(manifest, disks=wanted), meter)
    if loss:
        raise Damaged(
            f"{loss}; restore it without those disks, or restore another backup",
            backup=manifest.backup,
        )


class Assessor:
    """The assessment of many backups of one repository; pages that backups share are read once.

    A chunk in one of the `others`, which are repositories of the family, is not lost.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        thorough: bool = True,
        others: Sequence[Repository] = (),
    ) -> None:
        self._index: Index = repository.index()
        self._sizes: Mapping[bytes, int] = repository.objects.packs()
        self._noted = repository.findings
        self._elsewhere = repository.elsewhere(self._index) if thorough else None
        self._others = [Assessor(other, thorough=thorough) for other in others]
        reader = Reader(
            repository.destination,
            self._index,
            repository.keys,
            repository.findings,
            self._elsewhere,
        )
        reader.others = tuple(other._load for other in self._others)
        self._load: LoadChunk = reader.chunk
        self._known: dict[bytes, bool] = {}
        self._whole: set[tuple[bytes, int]] = set()  # (page, depth) of subtrees without loss
        self._objects: set[str] = set()

    def loss(self, manifest: Manifest, meter: Meter = unmetered) -> BackupLoss | None:
        """The loss of a backup, as in `assess`."""
        self._objects = set()
        losses = [DiskLoss(d.name, self._lost(d.map, meter)) for d in manifest.disks]
        lacking = [loss for loss in losses if loss.bytes]
        objects = sorted(self._objects)[:_OBJECTS_NAMED]
        return BackupLoss(manifest.backup, lacking, objects) if lacking else None

    def _lost(self, disk: DiskMap, meter: Meter) -> int:
        """The number of lost bytes of a disk."""
        return self._below(disk, disk.root, disk.depth, 0, meter)

    def _below(self, disk: DiskMap, ref: ChunkRef, depth: int, number: int, meter: Meter) -> int:
        low = number * span(depth)
        covered = max(0, min(span(depth), disk.size - low))
        if ref == HOLE or not covered:
            return 0
        if not self._is_there(ref):
            meter(covered)
            return covered
        if (ref.id, depth) in self._whole:  # backups share most of their maps
            meter(covered)
            return 0
        try:
            page = self._load(ref)
            if depth:
                lost = self._children(disk, unpack_inner(page), depth, number, meter)
            else:
                lost = self._leaf(unpack_leaf(page)[:LEAF_SEGMENTS])
                meter(covered)
        except (BaseGone, Damaged) as error:
            self._objects.add(error.message)
            meter(covered)
            return covered
        if not lost:
            self._remember((ref.id, depth))
        return lost

    def _children(
        self, disk: DiskMap, children: list[ChunkRef], depth: int, number: int, meter: Meter
    ) -> int:
        return sum(
            self._below(disk, child, depth - 1, number * FAN_OUT + i, meter)
            for i, child in enumerate(children)
        )

    def _remember(self, page: tuple[bytes, int]) -> None:
        if len(self._whole) >= _PAGES_KNOWN:
            self._whole.clear()
        self._whole.add(page)

    def _leaf(self, segments: list[Pieces]) -> int:
        refs = {ref for pieces in segments for _, ref in pieces} - {HOLE}
        lost = self._lacking(refs)
        return sum(
            min(sum(length for length, ref in pieces if ref in lost), SEGMENT_BYTES)
            for pieces in segments
        )

    def _is_there(self, ref: ChunkRef) -> bool:
        return not self._lacking([ref])

    def _lacking(self, refs: Collection[ChunkRef]) -> set[ChunkRef]:
        """The references to chunks without a sound copy in any group of any repository."""
        lost = self._lacking_here(refs)
        for other in self._others:
            lost = other._lacking(lost) if lost else lost
        return lost

    def _lacking_here(self, refs: Collection[ChunkRef]) -> set[ChunkRef]:
        if self._elsewhere:
            return {ref for ref in refs if not self._is_somewhere(ref, self._elsewhere)}
        hits = self._index.find([ref.id for ref in refs]) if refs else []
        lost = set()
        for ref, group in zip(refs, hits, strict=True):
            if group is None or not self._is_indexed(ref.id, group):
                self._blame(ref.id)
                lost.add(ref)
        return lost

    def _is_indexed(self, chunk: bytes, group: bytes) -> bool:
        """Whether a group in the index, the first match or another, holds the chunk."""
        if self._holds(group):
            return True
        return any(self._holds(other) for other in self._index.sound_groups_of(chunk))

    def _is_somewhere(self, ref: ChunkRef, elsewhere: UnindexedCopies) -> bool:
        """Whether any group holds the chunk; `ref` names one of them."""
        if self._holds(ref.group):
            return True
        if any(self._holds(group) for group in self._index.groups_of(ref.id)):
            return True
        if any(self._is_sound(group, place) for group, place in elsewhere.places(ref.id)):
            return True
        self._blame(ref.id)
        return False

    def _blame(self, chunk: bytes) -> None:
        groups = self._index.groups_of(chunk)
        named = [str(DamagedPlace(p.pack, g)) for g in groups for p in self._index.places(g)]
        self._objects.update(named or [f"chunk {chunk.hex()} is in no index file"])

    def _holds(self, group: bytes) -> bool:
        if len(self._known) > _GROUPS_KNOWN:
            self._known.clear()
        if group not in self._known:
            self._known[group] = any(
                self._is_sound(group, place) for place in self._index.places(group)
            )
        return self._known[group]

    def _is_sound(self, group: bytes, place: GroupLocation) -> bool:
        if self._index.damage.covers(group, place):
            return False
        if DamagedPlace(place.pack, group) in self._noted:
            return False
        # A pack recorded as a whole is missing or too short: the directory listing gives its
        # present length.
        return place.offset + place.length <= self._sizes.get(place.pack, -1)
