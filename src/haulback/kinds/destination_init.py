"""BACKUP_DESTINATION_INIT: creates the repository of a destination, or adopts its own."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_init import DestinationInitOrder, InitResult
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Ask, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import SPACE, Said
from haulback.tasks.record import Task


def init(destination: BackupDestination, ask: Ask) -> Task:
    """The task that makes a new destination usable."""
    refs = {"backupDestination": planning.named(destination)}
    return planning.task(
        "BACKUP_DESTINATION_INIT",
        "upkeep",
        ask,
        None,
        planning.TaskSpec(refs=refs, pinned=reach.pin(destination)),
    )


def prepare(task: Task, catalogue: Catalogue) -> DestinationInitOrder:
    return DestinationInitOrder(catalogue.places.destination(task.ref("backupDestination") or ""))


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FINISHED:
        found = msgspec.convert(task.results, InitResult)
        destination = task.ref("backupDestination") or ""
        # A node with its own format need not report a repository guid.
        ledger.destinations.initialised(destination, found.repository or destination)
        ledger.destinations.space(destination, found.totalSpace, found.freeSpace)


KIND = TaskKind(
    type="BACKUP_DESTINATION_INIT",
    lane="upkeep",
    order=DestinationInitOrder,
    prepare=prepare,
    settle=settle,
    report=(
        Said(
            "repository",
            "guid",
            "The guid of the new repository; without this member the server takes the guid of "
            "the destination.",
        ),
        *SPACE,
    ),
)
