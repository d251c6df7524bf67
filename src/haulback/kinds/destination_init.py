"""BACKUP_DESTINATION_INIT: creates the repository of a destination, or adopts its own."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_init import DestinationInitOrder, InitResult
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Context, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import SPACE, ReportMember
from haulback.tasks.record import Task

_FAMILY = "family"  # parameter: the destination whose repository supplies the master key


def init(
    destination: BackupDestination,
    catalogue: Catalogue,
    context: Context,
    family: BackupDestination | None = None,
) -> Task:
    """The task that makes a new destination usable, with the master key of a `family` if given.

    Raises Malformed, with the names of the nodes, if no node reaches both.
    """
    refs = {"backupDestination": planning.named(destination)}
    return planning.task(
        "BACKUP_DESTINATION_INIT",
        "upkeep",
        context,
        None,
        planning.TaskSpec(
            refs=refs,
            params={_FAMILY: family.guid} if family else {},
            pinned=planning.pinned(catalogue, destination, family),
        ),
    )


def prepare(task: Task, catalogue: Catalogue) -> DestinationInitOrder:
    places, family = catalogue.places, task.params.get(_FAMILY)
    wanted = task.ref("backupDestination") or ""
    return DestinationInitOrder(
        places.destination(wanted),
        places.destination(family) if family else None,
        {
            other.repository: other.name
            for other in places.destinations()
            if other.repository and other.guid != wanted
        },
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FINISHED:
        found = msgspec.convert(task.results, InitResult)
        destination = task.ref("backupDestination") or ""
        # A node with its own format need not report a repository guid.
        ledger.destinations.initialised(destination, found.repository or destination)
        if found.probe:
            ledger.destinations.probed(destination, found.probe)
        ledger.destinations.space(destination, found.totalSpace, found.freeSpace)


KIND = TaskKind(
    type="BACKUP_DESTINATION_INIT",
    lane="upkeep",
    order=DestinationInitOrder,
    prepare=prepare,
    settle=settle,
    report=(
        ReportMember(
            "repository",
            "guid",
            "The guid of the new repository; without this member the server takes the guid of "
            "the destination.",
        ),
        ReportMember(
            "backups", "count", "The number of backups that the repository holds already."
        ),
        ReportMember("probe", "object", "The results of the probe of the store."),
        *SPACE,
    ),
)
