"""BACKUP_CLEANUP on the node: delete expired backups and reclaim their space."""

from __future__ import annotations

import msgspec

from haulback.contract.backup_cleanup import BackupCleanupOrder
from haulback.errors import HaulbackError
from haulback.repository.garbage_collection import CleanupReport
from haulback.units import size
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
        f"{cleaned.backups} backups kept, {cleaned.unknown} of them unknown to the catalogue; "
        f"{cleaned.packs_deleted} packs deleted, {size(cleaned.bytes_freed)} freed, "
        f"{cleaned.packs_waiting} packs wait for running tasks"
    )
    if cleaned.packs_locked:
        context.log(
            f"{cleaned.packs_locked} packs with {size(cleaned.bytes_locked)} that no backup needs "
            "stay: the store keeps them under its lock"
        )
    if cleaned.held:
        context.log("no data was deleted: a part of a backup's map cannot be read")


WORK = TaskWork("BACKUP_CLEANUP", BackupCleanupOrder, run)
