"""BACKUP_CLEANUP: deletes expired backups of a destination and reclaims their space."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.backup_cleanup import (
    BackupCleanupOrder,
    BackupCleanupRequest,
    BackupCleanupResult,
)
from haulback.contract.order_records import BackupDestination
from haulback.contract.roles import OPERATORS
from haulback.contract.task_states import State
from haulback.inventory import retention
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Ask, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.removal import REMOVAL_REPORT, is_blocked, settle_removal
from haulback.tasks.record import Plan, Task


def plan(request: BackupCleanupRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """Plan a task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    return Plan([_task(one, request, ask) for one in found])


def _task(to: BackupDestination, request: BackupCleanupRequest, ask: Ask) -> Task:
    return planning.task(
        "BACKUP_CLEANUP",
        "cleanup",
        ask,
        request,
        planning.TaskSpec(refs={"backupDestination": planning.named(to)}, pinned=to.node),
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Decide which backups go before a byte is deleted: no restore uses them from now on."""
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    stored = catalogue.backups.stored_on(to.guid)
    entities = {one.entity: catalogue.machines.get(one.entity) for one in stored}
    for guid in retention.surplus(stored, retention.of(to.settings), ledger.now, entities):
        if not catalogue.work.is_in_use(catalogue.backups.get(guid)):
            ledger.removals.remove([guid], "removed by retention")
    ledger.damage.expect(task.guid, to.guid, forgotten=False)


def prepare(task: Task, catalogue: Catalogue) -> BackupCleanupOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    granted = msgspec.structs.replace(to, may_delete=True)
    return BackupCleanupOrder(
        granted, catalogue.backups.to_delete(to.guid), catalogue.backups.given_up(to.guid)
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FAILED and is_blocked(task):
        ledger.damage.cleanup_blocked(task, task.status_info or "backups are missing")
    if state is State.FINISHED:
        found = msgspec.convert(task.results, BackupCleanupResult)
        settle_removal(task, found, ledger)
        ledger.destinations.space(
            task.ref("backupDestination") or "", found.totalSpace, found.freeSpace
        )
    ledger.damage.expected_over(task.guid)


Request = BackupCleanupRequest  # the name in scripts for the first release
KIND = TaskKind(
    type="BACKUP_CLEANUP",
    lane="cleanup",
    order=BackupCleanupOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=REMOVAL_REPORT,
    submissions=(
        Submission(
            "remove-old-backups",
            BackupCleanupRequest,
            plan,
            summary="Create tasks to remove old backups.",
            roles=OPERATORS,
            examples=[{"backupDestinations": [example.REF]}],
            command="backup rm-old DESTINATION",
        ),
    ),
    removes=True,
)
