"""BACKUP_CLEANUP on the node: delete expired backups and reclaim their space."""

from __future__ import annotations

import msgspec

from haulback.contract.backup_cleanup import BackupCleanupOrder
from haulback.errors import HaulbackError
from haulback.repository.garbage_collection import CleanupReport
from haulback.units import counted, size
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.removal import remove


def run(context: TaskContext) -> Results:
    order: BackupCleanupOrder = context.order
    cleaned, found = remove(context, order.destination, order.backups, order.given_up)
    _tell(context, cleaned)
    _sweep(context, order)
    return {**msgspec.to_builtins(cleaned), **found}


def _sweep(context: TaskContext, order: BackupCleanupOrder) -> None:
    """Remove leftovers that require credentials with the right to delete."""
    try:
        context.repositories.store(order.destination).sweep(context.server.needed())
    except HaulbackError as error:
        context.log(f"leftovers on {order.destination.name} stay: {error.message}")


def _tell(context: TaskContext, cleaned: CleanupReport) -> None:
    """Log the result of a clean-up."""
    context.log(
        f"{counted(cleaned.backups, 'backup')} kept, {cleaned.unknown} of them unknown to the "
        f"catalogue; {counted(cleaned.packs_deleted, 'pack')} deleted, "
        f"{size(cleaned.bytes_freed)} freed; packs to delete after running tasks: "
        f"{cleaned.packs_waiting}"
    )
    if cleaned.packs_locked:
        context.log(
            f"{counted(cleaned.packs_locked, 'pack')} with {size(cleaned.bytes_locked)} that no "
            "backup needs not deleted: the object lock has not expired"
        )
    if cleaned.held:
        context.log("no data was deleted: part of a backup's map cannot be read")


WORK = TaskWork("BACKUP_CLEANUP", BackupCleanupOrder, run)
