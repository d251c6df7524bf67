"""BACKUP_CLEANUP: removes from a destination what had its time, and brings the space back."""

from __future__ import annotations

import msgspec

from haulback.contract.task_states import State
from haulback.inventory import retention
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import BackupDestination
from haulback.kinds.api import Ask, Results, Submission, TaskContext, TaskKind
from haulback.kinds.support import planning
from haulback.repository.garbage_collection import Cleaned, Orders, clean_up
from haulback.tasks.record import Plan, Task
from haulback.units import size
from haulback.wire import Ref

_REPORTED = 100  # damaged backups; a VERIFY soon names the others


class BackupCleanupRequest(msgspec.Struct):
    """BackupCleanupTaskRequest."""

    backupDestinations: list[Ref]
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class BackupCleanupOrder(msgspec.Struct):
    """Which backups to remove; the destination bears the right to delete.

    `given_up` are missing backups whose loss a person has confirmed.
    """

    destination: BackupDestination
    backups: list[str]
    given_up: list[str] = []


def plan(request: BackupCleanupRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    return Plan([_task(one, request, ask) for one in found])


def _task(to: BackupDestination, request: BackupCleanupRequest, ask: Ask) -> Task:
    return planning.task(
        "BACKUP_CLEANUP",
        "cleanup",
        ask,
        request,
        refs={"backupDestination": planning.named(to)},
        pinned=to.node,
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """What is to go is decided before a byte of it is touched: nobody restores it from now on."""
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


def run(job: TaskContext) -> Results:
    order: BackupCleanupOrder = job.order
    cleaned, found = remove(job, order.destination, order.backups, order.given_up)
    _tell(job, cleaned)
    return {**msgspec.to_builtins(cleaned), **found}


def remove(
    job: TaskContext, destination: BackupDestination, backups: list[str], given_up: list[str]
) -> tuple[Cleaned, Results]:
    """Forget backups and clean up after them: figures of the whole destination, and the report.

    Raises Missing, with nothing deleted, when a backup that the server expects is not there.
    """
    repository = job.repository(destination)
    orders = Orders(backups, job.expected, given_up, f"clean-up {job.guid}", job.now_ms)
    cleaned = clean_up(
        repository,
        job.folder,
        lambda: job.pins(destination.guid),
        job.pool,
        disk=job.disk,
        meter=job.meter,
        confirm=job.confirm,
        orders=orders,
    )
    job.lacking += cleaned.damaged[:_REPORTED]
    found: Results = {"removed": backups, "givenUp": cleaned.given_up}
    return cleaned, found | job.space(destination)


def _tell(job: TaskContext, cleaned: Cleaned) -> None:
    """Log the outcome for an operator."""
    job.log(
        f"{cleaned.backups} backups kept, {cleaned.unknown} of them unknown to the catalogue; "
        f"{cleaned.packs_deleted} packs deleted, {size(cleaned.bytes_freed)} freed, "
        f"{cleaned.packs_waiting} packs wait for running tasks"
    )
    if cleaned.held:
        job.log("nothing could be called dead: a part of some backup's map cannot be read")


class BackupCleanupResult(msgspec.Struct):
    """The node's report: removed backups, and bytes of the destination.

    `givenUp` are those whose loss was confirmed, and that were not found.
    """

    removed: list[str] = []
    givenUp: list[str] = []
    totalSpace: int | None = None
    freeSpace: int | None = None


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


def is_blocked(task: Task) -> bool:
    """Whether a clean-up deleted nothing because backups were not where they must be."""
    damage = task.results.get("damage")
    return isinstance(damage, dict) and bool(damage.get("missing") or damage.get("unreadable"))


def settle_removal(task: Task, found: BackupCleanupResult, ledger: Ledger) -> None:
    """A clean-up went through: all that it had to find was there."""
    ledger.damage.found_again(task)
    ledger.damage.lost_for_good(found.givenUp)
    ledger.removals.deleted(found.removed)


KIND = TaskKind(
    type="BACKUP_CLEANUP",
    lane="cleanup",
    order=BackupCleanupOrder,
    prepare=prepare,
    run=run,
    start=start,
    settle=settle,
    submissions=(
        Submission(
            "remove-old-backups",
            BackupCleanupRequest,
            plan,
            summary="Create tasks to remove old backups.",
        ),
    ),
)
