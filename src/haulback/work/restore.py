"""RESTORE on the node: check a backup, or write its disks as raw files."""

from __future__ import annotations

from pathlib import Path

from haulback.contract.restore import RestoreOrder
from haulback.drivers.sink import RawFile
from haulback.repository.backup_loss import check_backup
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.young_backup import let_be_listed


def run(context: TaskContext) -> Results:
    order: RestoreOrder = context.order
    repository = context.repositories.open(order.destination)
    manifest = repository.manifest(order.backup)
    let_be_listed(context, repository, order.backup)
    if order.pointer:
        return {"disks": len(manifest.disks)}
    context.progress.expect(sum(stored.map.size for stored in manifest.disks))
    if order.path is None:
        check_backup(repository, order.backup, context.progress.meter, order.skip)
        return {"checked": True}
    target = context.staging.restore_folder(order.path)
    if target.made:
        context.log("an earlier attempt restored everything already")
        return {"path": str(target.made)}
    for number in range(len(manifest.disks)):
        _write(context, repository, order.backup, number, target.folder)
    context.progress.confirm()
    return {"path": str(target.commit())}


def _write(
    context: TaskContext, repository: Repository, backup: str, number: int, folder: Path
) -> None:
    """Write a disk as a raw file; the disk's name on the platform is not trusted as a file name."""
    stored = repository.manifest(backup).disks[number]
    sink = RawFile(folder / f"disk{number}.raw", stored.map.size)
    try:
        restore_disk(stored.map, repository.reader(), sink, context.pool, context.progress.meter)
    finally:
        sink.close()


WORK = TaskWork("RESTORE", RestoreOrder, run)
