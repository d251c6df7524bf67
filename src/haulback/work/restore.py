"""RESTORE on the node: check a backup, or write its disks as raw files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from haulback.contract.restore import RestoreOrder
from haulback.drivers.sink import RawFile
from haulback.errors import Damaged
from haulback.repository.backup_loss import check_backup, check_together
from haulback.repository.restore import restore_disk
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.locations import OpenLocation, opened_family, read_at_any


def run(context: TaskContext) -> Results:
    order: RestoreOrder = context.order
    first = (order.backup, order.destination)
    if order.pointer:
        return read_at_any(context, first, order.others, _point)
    if order.path is None:
        return _check(context, order)
    target = context.staging.restore_folder(order.path)
    if target.made:
        context.log("an earlier attempt restored everything already")
        return {"path": str(target.made)}
    read_at_any(context, first, order.others, lambda at: _write_all(context, at, target.folder))
    context.progress.confirm()
    return {"path": str(target.commit())}


def _point(location: OpenLocation) -> Results:
    return {"disks": len(location.manifest.disks)}


def _check(context: TaskContext, order: RestoreOrder) -> Results:
    """Check that a location of a backup, or the locations of a family together, hold its data."""
    first = (order.backup, order.destination)
    try:
        return read_at_any(context, first, order.others, partial(_check_at, context))
    except Damaged:
        if not order.others:
            raise
    checked = read_at_any(context, first, order.others, partial(_check_together, context))
    context.log("each location lacks data: the restore takes every chunk from where it can be read")
    return checked


def _check_at(context: TaskContext, location: OpenLocation) -> Results:
    _expect(context, location)
    meter, skip = context.progress.meter, context.order.skip
    check_backup(location.repository, location.manifest.backup, meter, skip)
    return {"checked": True}


def _check_together(context: TaskContext, location: OpenLocation) -> Results:
    """Check a location with the others of its family, as a restore reads them.  Raises Damaged."""
    _expect(context, location)
    meter, skip = context.progress.meter, context.order.skip
    together = [location.repository, *opened_family(location)]
    check_together(together, location.manifest.backup, meter, skip)
    return {"checked": True}


def _expect(context: TaskContext, location: OpenLocation) -> None:
    context.progress.expect(sum(disk.map.size for disk in location.manifest.disks))


def _write_all(context: TaskContext, location: OpenLocation, folder: Path) -> None:
    _expect(context, location)
    for number in range(len(location.manifest.disks)):
        _write(context, location, number, folder)


def _write(context: TaskContext, location: OpenLocation, number: int, folder: Path) -> None:
    """Write a disk as a raw file; the disk's name on the platform is not trusted as a file name."""
    repository, manifest = location
    stored = manifest.disks[number]
    path = folder / f"disk{number}.raw"
    path.unlink(missing_ok=True)  # a location that failed in the middle left its part
    sink = RawFile(path, stored.map.size)
    try:
        restore_disk(stored.map, repository.reader(), sink, context.pool, context.progress.meter)
    finally:
        sink.close()


WORK = TaskWork("RESTORE", RestoreOrder, run)
