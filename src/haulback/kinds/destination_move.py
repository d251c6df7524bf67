"""BACKUP_DESTINATION_MOVE: changes the location of a destination's repository."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_move import DestinationMoveOrder, MoveResult
from haulback.contract.destination_types import SEALED
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger, NewDestinationLocation
from haulback.kinds.api import Context, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import SPACE, ReportMember
from haulback.tasks.record import Task
from haulback.wire import JsonObject

TYPE = "BACKUP_DESTINATION_MOVE"


def task(before: BackupDestination, after: BackupDestination, context: Context) -> Task:
    """The task that probes the new location of a destination."""
    given = {
        name: value for name, value in after.config.items() if before.config.get(name) != value
    }
    params: JsonObject = {"node": after.node, "nodes": after.nodes}
    if secrets := given.pop(SEALED, None):
        params[SEALED] = secrets
    params["given"] = given
    spec = planning.TaskSpec(
        refs={"backupDestination": planning.named(after)}, params=params, pinned=reach.pin(after)
    )
    return planning.task(TYPE, "inventory", context, None, spec)


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Store the list of backups that must be at the new location."""
    ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> DestinationMoveOrder:
    before = catalogue.places.destination(task.ref("backupDestination") or "")
    params = task.params
    after = msgspec.structs.replace(
        before,
        config=before.config | _changes(task),
        node=params["node"],
        nodes=params["nodes"],
    )
    return DestinationMoveOrder(after)


def _changes(task: Task) -> JsonObject:
    """The settings that change, including sealed secrets if secrets change."""
    changes: JsonObject = dict(task.params["given"])
    return changes | {SEALED: task.params[SEALED]} if SEALED in task.params else changes


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Move the record.  Raises Conflict if another task has begun to work on the destination."""
    ledger.damage.expected_over(task.guid)
    if state is not State.FINISHED:
        return
    report = msgspec.convert(task.results, MoveResult)
    destination, params = task.ref("backupDestination") or "", task.params
    place = NewDestinationLocation(destination, _changes(task), params["node"], params["nodes"])
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
        ReportMember(
            "repository", "guid", "The guid of the repository at the new location.", needed=True
        ),
        *SPACE,
    ),
)
