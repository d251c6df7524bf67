"""BACKUP_DESTINATION_SYNC: copies backups to a second destination, or reads the catalogue of one.

The order decides: with a source destination the task copies, without it the task reads.
"""

from __future__ import annotations

from typing import NamedTuple

from haulback.contract.backup_destination_sync import DestinationSyncOrder
from haulback.contract.order_records import BackupDestination
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
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


def prepare(task: Task, catalogue: Catalogue) -> DestinationSyncOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    origin = task.params.get(SOURCE)
    return DestinationSyncOrder(to, catalogue.places.destination(origin) if origin else None)


KIND = TaskKind(
    type=TYPE,
    lane=_LANE,
    order=DestinationSyncOrder,
    prepare=prepare,
    report=(
        Said("copied", "array", "Each finished copy: backup, stored (bytes), parent, lacks."),
        Said("sealedAnew", "flag", "The data was sealed with the key of the destination."),
        *SPACE,
    ),
    window=WINDOW,
    retries=True,
)
