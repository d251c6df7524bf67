"""BACKUP_DESTINATION_MOVE on the node: find the same repository at the new location."""

from __future__ import annotations

from haulback.contract.destination_move import DestinationMoveOrder
from haulback.contract.destination_types import by_driver, settings_of
from haulback.contract.order_records import BackupDestination
from haulback.errors import Conflict
from haulback.repository import manifest as manifests
from haulback.repository.names import exists
from haulback.units import counted
from haulback.work.context import Results, TaskContext, TaskWork

_NAMED = 5


def run(context: TaskContext) -> Results:
    order: DestinationMoveOrder = context.order
    context.log(f"the new location of the destination is {_place(order.destination)}")
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
            f"the new location lacks {counted(len(missing), 'backup')}: "
            f"{', '.join(missing[:_NAMED])}{more}; copy the whole repository, then move the "
            "destination"
        )
    context.log(f"{counted(count, 'expected backup')} found at the new location")
    return {"repository": repository.guid} | context.repositories.space(order.destination)


def _place(destination: BackupDestination) -> str:
    """The settings that determine the location, as text."""
    kind = by_driver(destination.driver)
    declared = settings_of(kind).values() if kind else ()
    shown = [setting.name for setting in declared if setting.is_place or setting.is_path]
    told = [f"{name} {destination.config[name]}" for name in shown if destination.config.get(name)]
    return ", ".join(told)


WORK = TaskWork("BACKUP_DESTINATION_MOVE", DestinationMoveOrder, run)
