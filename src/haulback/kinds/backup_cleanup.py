"""BACKUP_CLEANUP: removes from a destination what had its time, and brings the space back."""

from __future__ import annotations

import msgspec

from haulback.errors import Malformed
from haulback.inventory import retention
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Catalogue, Destination
from haulback.kinds import planning
from haulback.kinds.seam import Ask, Job, Kind, Results, Submission
from haulback.repository.clean_up import clean_up
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.wire import Ref


class Request(msgspec.Struct):
    """BackupCleanupTaskRequest."""

    backupDestinations: list[Ref]
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class Order(msgspec.Struct):
    """Which backups to remove; the destination bears the right to delete."""

    destination: Destination
    backups: list[str]


def plan(request: Request, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task for each destination.  Raises Malformed or NotFound."""
    refs = planning.some("backupDestinations", request.backupDestinations)
    found = [catalogue.destination(ref.guid) for ref in refs]
    for one in found:
        if one.repository is None:
            raise Malformed(f"backupDestinations: {one.name} has no repository yet")
    return Plan([_task(one, request, ask) for one in found])


def _task(to: Destination, request: Request, ask: Ask) -> Task:
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
    to = catalogue.destination(task.ref("backupDestination") or "")
    stored = catalogue.stored_on(to.guid)
    entities = {one.entity: catalogue.entity(one.entity) for one in stored}
    for guid in retention.surplus(stored, retention.of(to.settings), ledger.now, entities):
        if not catalogue.is_in_use(catalogue.backup(guid)):
            ledger.remove([guid], "removed by retention")


def prepare(task: Task, catalogue: Catalogue) -> Order:
    to = catalogue.destination(task.ref("backupDestination") or "")
    return Order(msgspec.structs.replace(to, may_delete=True), catalogue.going(to.guid))


def run(job: Job) -> Results:
    order: Order = job.order
    return remove(job, order.destination, order.backups)


def remove(job: Job, destination: Destination, backups: list[str]) -> Results:
    """Forget backups and clean up after them: what the node reports of it."""
    repository = job.repository(destination)
    for backup in backups:
        job.confirm()
        repository.forget(backup)
    cleaned = clean_up(
        repository,
        job.folder,
        lambda: job.pins(destination.guid),
        job.pool,
        disk=job.disk,
        meter=job.meter,
        confirm=job.confirm,
    )
    found = {**msgspec.to_builtins(cleaned), "removed": backups}
    return found | job.space(destination)


class Removed(msgspec.Struct):
    """What the node reports: which backups are gone, and bytes of the destination."""

    removed: list[str] = []
    totalSpace: int | None = None
    freeSpace: int | None = None


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is not State.FINISHED:
        return
    found = msgspec.convert(task.results, Removed)
    ledger.gone(found.removed)
    ledger.space(task.ref("backupDestination") or "", found.totalSpace, found.freeSpace)


KIND = Kind(
    type="BACKUP_CLEANUP",
    lane="cleanup",
    order=Order,
    prepare=prepare,
    run=run,
    start=start,
    settle=settle,
    submissions=(
        Submission(
            "remove-old-backups", Request, plan, summary="Create tasks to remove old backups."
        ),
    ),
)
