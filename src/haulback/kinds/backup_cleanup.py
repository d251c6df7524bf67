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
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.removal import REMOVAL_REPORT, is_blocked, settle_removal
from haulback.kinds.support.reports import ReportMember
from haulback.tasks.record import Plan, Task

_TYPE = "BACKUP_CLEANUP"


def plan(request: BackupCleanupRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    return Plan([_task(one, request, context) for one in found])


def _task(to: BackupDestination, request: BackupCleanupRequest, context: Context) -> Task:
    return planning.task(
        _TYPE,
        "cleanup",
        context,
        request,
        planning.TaskSpec(refs={"backupDestination": planning.named(to)}, pinned=reach.pin(to)),
    )


def of_removed(to: BackupDestination, context: Context) -> Task:
    """A clean-up that deletes only the backups that are already marked as removed."""
    spec = planning.TaskSpec(
        refs={"backupDestination": planning.named(to)},
        pinned=reach.pin(to),
        params={"scope": "marked"},
    )
    return planning.task(_TYPE, "cleanup", context, None, spec)


def nightly(to: BackupDestination, context: Context) -> Task:
    """A clean-up that applies retention to every backup of a destination, planned by the server."""
    task = _task(to, BackupCleanupRequest([]), context)
    task.params = {"scope": "nightly"}
    return task


def prepare(task: Task, catalogue: Catalogue) -> BackupCleanupOrder:
    """The order of a clean-up after the server has decided about its backups."""
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    granted = msgspec.structs.replace(to, may_delete=True)
    return BackupCleanupOrder(
        granted, catalogue.backups.to_delete(to.guid), catalogue.backups.given_up(to.guid)
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FAILED and is_blocked(task):
        ledger.damage.cleanup_blocked(task, task.status_info or "backups are missing")
    if state is State.FINISHED:
        report = msgspec.convert(task.results, BackupCleanupResult)
        settle_removal(task, report, ledger)
        ledger.destinations.space(
            task.ref("backupDestination") or "", report.totalSpace, report.freeSpace
        )
        if report.usage:
            ledger.destinations.measured(task.ref("backupDestination") or "", report.usage)
    ledger.damage.expected_over(task.guid)


Request = BackupCleanupRequest  # the name in scripts for the first release
KIND = TaskKind(
    type=_TYPE,
    lane="cleanup",
    order=BackupCleanupOrder,
    prepare=prepare,
    settle=settle,
    report=(
        *REMOVAL_REPORT,
        ReportMember("usage", "object", "Bytes of the repository, by machine."),
    ),
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
