"""BACKUP_DESTINATION_SYNC: copies backups to a second destination, or reads the catalogue of one.

The order decides: with a source destination the task copies, without it the task reads.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from haulback.contract.backup_destination_sync import DestinationSyncOrder, DestinationSyncResult
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import AnyRequest, Ask, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import SPACE, Said
from haulback.tasks.record import HOUR_MS, Task
from haulback.wire import Named

TYPE = "BACKUP_DESTINATION_SYNC"
WINDOW = 24 * HOUR_MS  # copies may wait for a link that is down
SOURCE = "source"  # parameter: the destination that the task copies from
_LANE = "copy"


class CopyWork(NamedTuple):
    """Copies of one machine's backups from one destination to another.

    `copies` are the guids of the copies, older backups first; `of` refers to the machine.
    """

    origin: BackupDestination
    to: BackupDestination
    of: Named
    copies: list[str]
    run: str = ""
    rule: Named | None = None


def copying(
    work: CopyWork, ask: Ask, request: AnyRequest = None, follows: Task | None = None
) -> Task:
    """The task that makes copies."""
    spec = planning.TaskSpec(
        refs={
            "backupDestination": planning.named(work.to),
            "protectedEntity": work.of,
            "rule": work.rule,
        },
        params={SOURCE: work.origin.guid, "copies": work.copies},
        pinned=_node_of(work),
        follows=follows,
        window=WINDOW,
        run=work.run,
    )
    return planning.task(TYPE, _LANE, ask, request, spec)


def reading(to: BackupDestination, ask: Ask) -> Task:
    """The task that reads the catalogue of a destination."""
    spec = planning.TaskSpec(
        refs={"backupDestination": planning.named(to)}, pinned=to.node, window=WINDOW
    )
    return planning.task(TYPE, "verify", ask, None, spec)


def _node_of(work: CopyWork) -> str | None:
    """The node that reaches both destinations; the node of the target where none does.

    A link that is missing fails the copy, never the backup.
    """
    try:
        return planning.pinned(work.origin, work.to)
    except Malformed:
        return work.to.node


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Fix the list of backups that a task which reads the catalogue must find."""
    if not task.params.get(SOURCE):
        ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> DestinationSyncOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    origin = task.params.get(SOURCE)
    if not origin:
        take_over = bool(task.params.get("takeOver"))
        return DestinationSyncOrder(
            to, takeOver=take_over, revoked=bool(task.params.get("revoked"))
        )
    return DestinationSyncOrder(to, catalogue.places.destination(origin))


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record that the catalogue was read: the destination is usable, and no backup is unknown."""
    if task.params.get(SOURCE):
        return
    destination = task.ref("backupDestination") or ""
    ledger.damage.expected_over(task.guid)
    if state is State.FINISHED:
        report = msgspec.convert(task.results, DestinationSyncResult)
        if report.repository:
            ledger.destinations.initialised(destination, report.repository)
        ledger.destinations.space(destination, report.totalSpace, report.freeSpace)
        ledger.damage.catalogue_read(destination, report.extractTime, since=task.started or 0)


KIND = TaskKind(
    type=TYPE,
    lane=_LANE,
    order=DestinationSyncOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=(
        Said("copied", "array", "Each finished copy: backup, stored (bytes), parent, lacks."),
        Said("sealedAnew", "flag", "The data was sealed with the key of the destination."),
        Said("repository", "guid", "The guid of the repository whose catalogue was read."),
        Said("backups", "count", "Number of backups that are stored there."),
        Said("added", "count", "Number of backups that were new to the catalogue."),
        Said("lost", "count", "Number of backups that an extract names and that are not there."),
        Said("extractTime", "time", "Time of the newest extract, epoch ms; 0 without one."),
        *SPACE,
    ),
    window=WINDOW,
    retries=True,
)
