"""From a snapshot into staging: the disks of a machine as sealed packs and a draft manifest."""

from __future__ import annotations

from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from haulback.disk import Disk
from haulback.drivers.hypervisor import DiskView, Snapshot
from haulback.errors import NotFound
from haulback.repository import sample
from haulback.repository.backup import Meter, back_up_disk, unmetered
from haulback.repository.manifest import Manifest, StoredDisk
from haulback.repository.mapping import MapReader
from haulback.repository.repository import Draft, Repository
from haulback.repository.writer import Writer


class Wanted(NamedTuple):
    """What the backup is to be called; `snapshot_time` in epoch milliseconds.

    `excluded` are names of disks that are not wanted in it.
    """

    backup: str
    entity: str
    snapshot_time: int
    excluded: Set[str] = frozenset()


def export_machine(
    snapshot: Snapshot,
    repository: Repository,
    folder: Path,
    wanted: Wanted,
    pool: ThreadPoolExecutor,
    *,
    base: str | None = None,
    disk: Disk | None = None,
    meter: Meter = unmetered,
    warn: Callable[[str], None] = lambda _: None,
) -> Draft:
    """Read what changed since the backup `base` (all without one) into `folder`, durably.

    `base` must be the backup that was made with the checkpoint the snapshot builds on; what the
    snapshot calls unchanged is taken from it, once a sample has shown that this is true; else the
    disk is read whole, and `warn` is told.  After any error the caller removes what is in
    `folder`, and the snapshot's checkpoint.
    The snapshot is closed before the draft is written: an image that moved while it was read
    raises SourceChanged and leaves no draft.  A base that is gone makes the backup a full one.
    """
    disk = disk or Disk()
    parent = _parent(repository, base)
    maps = _maps(parent, repository)
    read = _Counter(meter)
    writer = repository.writer(folder, pool, disk)
    try:
        stored = tuple(
            _store(view, maps.get(view.disk.name), repository, writer, pool, read, warn)
            for view in snapshot.views()
            if view.disk.name not in wanted.excluded
        )
        machine = snapshot.machine
        snapshot.close()
        staged = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    manifest = Manifest(
        backup=wanted.backup,
        entity=wanted.entity,
        entity_name=machine.name,
        type="INCREMENTAL" if parent else "FULL",
        snapshot_time=wanted.snapshot_time,
        disks=stored,
        parent=parent.backup if parent else None,
        definition=machine.definition,
        read=read.total,
        stored=staged.stored,
    )
    return repository.draft(folder, staged, manifest, disk)


class _Counter:
    """Adds up what the meter is told."""

    def __init__(self, meter: Meter) -> None:
        self.total, self._meter = 0, meter

    def __call__(self, count: int) -> None:
        self.total += count
        self._meter(count)


def _parent(repository: Repository, base: str | None) -> Manifest | None:
    if base is None:
        return None
    try:
        return repository.manifest(base)
    except NotFound:
        return None


def _store(
    view: DiskView,
    old: MapReader | None,
    repository: Repository,
    writer: Writer,
    pool: ThreadPoolExecutor,
    meter: Meter,
    warn: Callable[[str], None],
) -> StoredDisk:
    changed = view.changed if old and old.root.size == view.source.size else None
    if old and changed is not None and not sample.is_true(view.source, old, changed):
        warn(f"{view.disk.name} is read whole: what the platform calls unchanged has changed")
        changed = None
    found = back_up_disk(view.source, writer, repository.keys, pool, old, changed, meter)
    return StoredDisk(view.disk.name, found, view.disk.format)


def _maps(parent: Manifest | None, repository: Repository) -> dict[str, MapReader]:
    """The parent's maps by the name of their disk."""
    if parent is None:
        return {}
    reader = repository.reader()
    return {stored.name: MapReader(stored.map, reader.chunk) for stored in parent.disks}
