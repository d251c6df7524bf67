"""BACKUP_DESTINATION_SYNC on the node: copy backups, or read the catalogue of a destination."""

from __future__ import annotations

from haulback.contract.backup_destination_sync import DestinationSyncOrder
from haulback.errors import Malformed
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.catalogue import read_catalogue


def run(context: TaskContext) -> Results:
    order: DestinationSyncOrder = context.order
    if order.source is None:
        return read_catalogue(context)
    raise Malformed("this node does not make a copy yet; update Haulback on the node")


WORK = TaskWork("BACKUP_DESTINATION_SYNC", DestinationSyncOrder, run)
