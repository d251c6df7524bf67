"""BACKUP_DESTINATION_MOVE on the node: find the same repository at the new place."""

from __future__ import annotations

from haulback.contract.destination_move import DestinationMoveOrder
from haulback.errors import Conflict
from haulback.repository import manifest as manifests
from haulback.repository.names import exists
from haulback.units import counted
from haulback.work.context import Results, TaskContext, TaskWork

_NAMED = 5


def run(context: TaskContext) -> Results:
    order: DestinationMoveOrder = context.order
    repository = context.repositories.open(order.destination)
    missing: list[str] = []
    count = 0
    for backup in context.server.expected():
        count += 1
        context.progress.meter(0)
        if not exists(repository.destination, manifests.name_of(backup)):
            missing.append(backup)
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise Conflict(
            f"the new place lacks {counted(len(missing), 'backup')}: "
            f"{', '.join(missing[:_NAMED])}{more}; copy the whole repository, then move the "
            "destination"
        )
    context.log(f"{counted(count, 'expected backup')} found at the new place")
    return {"repository": repository.guid} | context.repositories.space(order.destination)


WORK = TaskWork("BACKUP_DESTINATION_MOVE", DestinationMoveOrder, run)
