"""BACKUP_DESTINATION_SYNC on the node: copy backups, or read the catalogue of a destination."""

from __future__ import annotations

from haulback.contract.backup_destination_sync import DestinationSyncOrder
from haulback.errors import Malformed
from haulback.work.context import Results, TaskContext, TaskWork


def run(context: TaskContext) -> Results:
    order: DestinationSyncOrder = context.order
    kind = "a copy" if order.source else "the catalogue of a destination"
    raise Malformed(f"this node does not make {kind} yet; update Haulback on the node")


WORK = TaskWork("BACKUP_DESTINATION_SYNC", DestinationSyncOrder, run)
