"""RESTORE on the node: check a backup, or write its disks as raw files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from haulback import units
from haulback.contract.node_tasks import SourceLocation
from haulback.contract.restore import RestoreOrder
from haulback.drivers.free_space import free_spaces
from haulback.drivers.imagefolder.definition import image_names
from haulback.drivers.sink import RawFile
from haulback.errors import Damaged
from haulback.repository.backup_loss import check_backup, check_together
from haulback.repository.manifest import ManifestDisk
from haulback.repository.restore import restore_disk
from haulback.transfer.space_check import PlannedDisk, check_space
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.attempt import is_first
from haulback.work.support.locations import OpenLocation, opened_family, read_at_any, read_from
from haulback.work.support.phases import phase


def run(context: TaskContext) -> Results:
    order: RestoreOrder = context.order
    first = (order.backup, order.destination)
    if order.pointer:
        return read_at_any(context, first, order.others, partial(_point, context))
    if order.path is None:
        return _check(context, order)
    target = context.staging.restore_folder(order.path)
    if target.made:
        context.log("an earlier attempt restored everything already")
        return {"path": str(target.made), **read_from(SourceLocation())}
    location = read_at_any(
        context, first, order.others, lambda at: _write_all(context, at, target.folder)
    )
    context.progress.confirm()
    path = str(target.commit())
    context.log(f"the folder {path} is complete")
    return {"path": path, **location.read_from()}


def _point(context: TaskContext, location: OpenLocation) -> Results:
    context.log(f"the restore reads from {location.place.destination.name}")
    return {"disks": len(location.manifest.disks), **location.read_from()}


def _check(context: TaskContext, order: RestoreOrder) -> Results:
    """Check that a location of a backup, or the locations of a family together, hold its data."""
    first = (order.backup, order.destination)
    try:
        return read_at_any(context, first, order.others, partial(_check_at, context))
    except Damaged:
        if not order.others:
            raise
    checked = read_at_any(context, first, order.others, partial(_check_together, context))
    context.log(
        "each location lacks data: the restore reads every chunk from a location that has it"
    )
    return checked


def _check_at(context: TaskContext, location: OpenLocation) -> Results:
    total = _expect(context, location)
    meter, skip = context.progress.meter, context.order.skip
    with phase(context, "all data of the backup was found") as checking:
        check_backup(location.repository, location.manifest.backup, meter, skip)
        checking.moved = total
    return {"checked": True, **location.read_from()}


def _check_together(context: TaskContext, location: OpenLocation) -> Results:
    """Check a location together with the others of its family, as a restore reads them.  Raises
    Damaged.
    """
    _expect(context, location)
    meter, skip = context.progress.meter, context.order.skip
    together = [location.repository, *opened_family(location)]
    check_together(together, location.manifest.backup, meter, skip)
    return {"checked": True, **location.read_from()}


def _expect(context: TaskContext, location: OpenLocation) -> int:
    """Log the location that is read; returns the bytes of its disks."""
    manifest, disks = location.manifest, location.manifest.disks
    total = sum(disk.map.size for disk in disks)
    context.progress.expect(total)
    context.log(
        f"backup {manifest.backup} of {manifest.entity_name} ({manifest.type}, "
        f"{units.counted(len(disks), 'disk')}, {units.size(total)}) is read from "
        f"{location.place.destination.name}"
    )
    return total


def _write_all(context: TaskContext, location: OpenLocation, folder: Path) -> OpenLocation:
    _expect(context, location)
    disks = location.manifest.disks
    # The disk's name on the platform is no file name: it may hold separators, or occur twice.
    files = image_names([(disk.name, "raw") for disk in disks])
    for file in files:
        (folder / file).unlink(missing_ok=True)  # a location that failed halfway left its files
    if is_first(context.attempt):
        _check_space(context, location, folder)
    for disk, file in zip(disks, files, strict=True):
        with phase(context, f"disk {disk.name} was written as {file}") as writing:
            _write(context, location, disk, folder / file)
            writing.moved = disk.map.size
    return location


def _check_space(context: TaskContext, location: OpenLocation, folder: Path) -> None:
    """Check that the sparse files fit.  Raises OutOfSpace with the path of the request."""
    disks = [PlannedDisk(disk.name, disk.map) for disk in location.manifest.disks]
    places = free_spaces((disk.name, folder) for disk in disks)
    spaces = [space._replace(where=str(context.order.path)) for space in places]
    check_space(disks, spaces, location.repository.reader())


def _write(context: TaskContext, location: OpenLocation, stored: ManifestDisk, path: Path) -> None:
    """Write a disk as a raw file."""
    repository = location.repository
    sink = RawFile(path, stored.map.size)
    try:
        restore_disk(stored.map, repository.reader(), sink, context.pool, context.progress.meter)
    finally:
        sink.close()


WORK = TaskWork("RESTORE", RestoreOrder, run)
