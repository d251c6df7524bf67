"""BACKUP_DESTINATION_MOVE: a destination whose repository lies at another place now."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_move import DestinationMoveOrder, MoveResult
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger, NewPlaceOf
from haulback.kinds.api import Ask, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import SPACE, Said
from haulback.tasks.record import Task
from haulback.wire import JsonObject

TYPE = "BACKUP_DESTINATION_MOVE"


def task(after: BackupDestination, given: JsonObject, ask: Ask) -> Task:
    """The task that probes the place of a destination as it will be; `given` are the settings that
    change.
    """
    params: JsonObject = {"given": given, "node": after.node, "nodes": after.nodes}
    spec = planning.TaskSpec(
        refs={"backupDestination": planning.named(after)}, params=params, pinned=reach.pin(after)
    )
    return planning.task(TYPE, "inventory", ask, None, spec)


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Fix the list of backups that must be at the new place."""
    ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> DestinationMoveOrder:
    before = catalogue.places.destination(task.ref("backupDestination") or "")
    params = task.params
    after = msgspec.structs.replace(
        before,
        config=before.config | params["given"],
        node=params["node"],
        nodes=params["nodes"],
    )
    return DestinationMoveOrder(after)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Move the record.  Raises Conflict when another task began to work on the destination."""
    ledger.damage.expected_over(task.guid)
    if state is not State.FINISHED:
        return
    report = msgspec.convert(task.results, MoveResult)
    destination, params = task.ref("backupDestination") or "", task.params
    place = NewPlaceOf(destination, params["given"], params["node"], params["nodes"])
    ledger.destinations.moved(place, report.repository, by=task.guid)
    ledger.destinations.space(destination, report.totalSpace, report.freeSpace)


KIND = TaskKind(
    type=TYPE,
    lane="inventory",
    order=DestinationMoveOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=(
        Said("repository", "guid", "The guid of the repository at the new place.", needed=True),
        *SPACE,
    ),
)
