"""The mode of BACKUP_DESTINATION_SYNC that reads the catalogue of a destination."""

from __future__ import annotations

import msgspec

from haulback.contract.backup_destination_sync import DestinationSyncOrder, DestinationSyncResult
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.inventory.ledger import Ledger
from haulback.tasks.record import Task

TAKE_OVER, REVOKED = "takeOver", "revoked"  # parameters of the task


def start(task: Task, ledger: Ledger) -> None:
    """Store the list of backups that the task must find."""
    ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def order(task: Task, to: BackupDestination) -> DestinationSyncOrder:
    """The order of the task; the reading server is added when the order is sent."""
    take_over, revoked = (bool(task.params.get(name)) for name in (TAKE_OVER, REVOKED))
    return DestinationSyncOrder(to, takeOver=take_over, revoked=revoked)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record that the catalogue was read: the destination is usable, and no backup of it is
    unknown.
    """
    destination = task.ref("backupDestination") or ""
    ledger.damage.expected_over(task.guid)
    if state is State.FINISHED:
        report = msgspec.convert(task.results, DestinationSyncResult)
        if report.repository:
            ledger.destinations.initialised(destination, report.repository)
        ledger.destinations.space(destination, report.totalSpace, report.freeSpace)
        ledger.damage.catalogue_read(destination, report.extractTime, since=task.started or 0)
