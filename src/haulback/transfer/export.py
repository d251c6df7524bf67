"""Export of a machine: a snapshot becomes sealed packs and a draft manifest in staging."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from haulback.drivers.hypervisor import ALLOCATED, DiskView, Machine, Snapshot
from haulback.drivers.source import Extent
from haulback.durable_files import DurableFiles
from haulback.errors import BaseGone, Damaged, NotFound
from haulback.repository import cbt_check
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.backup_loss import assess
from haulback.repository.group_cache import NearGroups
from haulback.repository.keys import Keys
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.mapping import PAGES_BEFORE, MapReader
from haulback.repository.pack_verification import PackMemory
from haulback.repository.repository import Draft, Repository
from haulback.repository.repository_state import RepositoryState
from haulback.repository.resources import Meter, Resources, unmetered
from haulback.repository.writer import Writer
from haulback.wire import JsonObject


class ExportSpec(NamedTuple):
    """Identity of the new backup: guids of backup and entity; `snapshot_time` in epoch ms.

    `excluded` holds the names of disks to leave out. `base` is the guid of the backup made with the
    checkpoint on which the snapshot builds; None reads all data.
    """

    backup: str
    entity: str
    snapshot_time: int
    excluded: Set[str] = frozenset()
    base: str | None = None


class ExportServices(NamedTuple):
    """Services of the node that an export uses.

    `folder` takes the packs, `pool` runs the compression, `meter` counts the bytes read, `warn`
    takes sentences for the task's log. `memory` caches the packs that passed the reuse check.
    """

    folder: Path
    pool: ThreadPoolExecutor
    disk: DurableFiles = DurableFiles()
    meter: Meter = unmetered
    warn: Callable[[str], None] = lambda _: None
    memory: PackMemory | None = None


def export_machine(
    snapshot: Snapshot, repository: Repository, wanted: ExportSpec, services: ExportServices
) -> Draft:
    """Read the data that changed since the base into the staging folder; the result is durable.

    Unchanged extents are taken from the base only after a sample has confirmed that they are
    unchanged; otherwise the disk is read whole, with a warning.

    A missing base or a damaged base manifest makes the backup a full one. A disk that has damaged
    data in the base is read whole.

    The snapshot is closed before the draft is written, so that an image that moved during the read
    raises SourceChanged and leaves no draft. After any error the caller removes the files in
    `folder` and the snapshot's checkpoint.
    """
    parent = _parent(repository, wanted.base, services.warn)
    look = repository.look()
    bases = _bases(parent, repository, look, services.warn)
    read = _Counter(services.meter)
    folder, disk = services.folder, services.disk
    writer = repository.writer(folder, services.pool, disk, services.memory, look)
    metered = services._replace(meter=read)
    try:
        stored = [
            _store(view, bases.get(view.disk.name), repository, writer, metered)
            for view in snapshot.views()
            if view.disk.name not in wanted.excluded
        ]
        machine = snapshot.machine
        snapshot.close()
        staged = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    if parent and stored and not any(builds for _, builds in stored):
        parent = None
    manifest = Manifest(
        backup=wanted.backup,
        entity=wanted.entity,
        entity_name=machine.name,
        type="INCREMENTAL" if parent else "FULL",
        snapshot_time=wanted.snapshot_time,
        disks=tuple(disk for disk, _ in stored),
        parent=parent.backup if parent else None,
        definition=_described(machine),
        read=read.total,
        stored=staged.stored,
    )
    return repository.draft(folder, staged, manifest, disk)


def _described(machine: Machine) -> JsonObject:
    """The definition of a machine, with the names of the disks whose space is allocated."""
    full = [disk.name for disk in machine.disks if disk.allocate]
    return {**machine.definition, ALLOCATED: full} if full else machine.definition


class _Counter:
    """A meter that also sums up the reported bytes."""

    def __init__(self, meter: Meter) -> None:
        self.total, self._meter = 0, meter

    def __call__(self, count: int) -> None:
        self.total += count
        self._meter(count)


def _parent(
    repository: Repository, base: str | None, warn: Callable[[str], None]
) -> Manifest | None:
    if base is None:
        return None
    try:
        return repository.manifest(base)
    except (NotFound, Damaged) as error:
        warn(f"the backup is made a full one: {error.message}")
        return None


def _store(
    view: DiskView,
    base: _Base | None,
    repository: Repository,
    writer: Writer,
    services: ExportServices,
) -> tuple[ManifestDisk, bool]:
    """Store one disk; returns the stored disk, and whether it builds on the parent's disk."""
    keys, source, name = repository.keys, view.source, view.disk.name
    warn, resources = services.warn, Resources(services.pool, meter=services.meter)
    if base is not None:
        old, lacks = base
        old.expect([old.root.root], PAGES_BEFORE)
        try:
            changed = None if lacks else _believed(view, old, keys, warn)
            parent = DiskBase(old, changed, lacks)
            stored = back_up_disk(source, writer, keys, resources, parent)
            return ManifestDisk(name, stored, view.disk.format), not lacks
        except (Damaged, BaseGone) as error:
            warn(f"{name} is read whole: the previous backup is damaged: {error.message}")
    stored = back_up_disk(source, writer, keys, resources)
    return ManifestDisk(name, stored, view.disk.format), False


def _believed(
    view: DiskView, old: MapReader, keys: Keys, warn: Callable[[str], None]
) -> Iterable[Extent] | None:
    """The changed extents reported by the hypervisor, or None to read the whole disk.

    The extents are used only if a sample of the unchanged data equals the parent's data.
    """
    changed = view.changed if old.root.size == view.source.size else None
    if changed is not None and not cbt_check.is_true(view.source, old, changed, keys):
        warn(f"{view.disk.name} is read whole: data that the platform calls unchanged has changed")
        return None
    return changed


class _Base(NamedTuple):
    """A disk of the parent backup.

    `lacks` is set for a disk with damaged data: its map then only supplies chunk boundaries. Equal
    boundaries produce equal chunks, so the new backup also repairs the parent.
    """

    old: MapReader
    lacks: bool


def _bases(
    parent: Manifest | None,
    repository: Repository,
    look: RepositoryState,
    warn: Callable[[str], None],
) -> dict[str, _Base]:
    """Disks of the parent backup by name."""
    if parent is None:
        return {}
    lacking = _lacking(parent, repository, warn) if look.index().is_damaged else set()
    # Not thorough: on a missing chunk, reading the disk whole is faster than a search for copies.
    reader = repository.reader(thorough=False, look=look)
    # The roots come from the destination, which shows that the newest pack of the base is there.
    roots = {stored.map.group for stored in parent.disks}
    reader.near = NearGroups(repository.groups, apart=roots)
    return {
        stored.name: _Base(
            MapReader(stored.map, reader.chunk, reader.expect, reader.place_of),
            stored.name in lacking,
        )
        for stored in parent.disks
    }


def _lacking(parent: Manifest, repository: Repository, warn: Callable[[str], None]) -> set[str]:
    """Names of the parent's disks with damaged data; no extent of them may be reused unread."""
    loss = assess(repository, parent, thorough=False)
    if loss is None:
        return set()
    for disk in loss.disks:
        warn(f"{disk.name} is read whole: its data in the previous backup is damaged")
    return {disk.name for disk in loss.disks}
