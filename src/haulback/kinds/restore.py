"""RESTORE: proves that a backup can be read, and with a path writes its disks as raw files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from haulback.contract.task_states import State
from haulback.drivers.sink import RawFile
from haulback.errors import Conflict, Malformed, NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup, BackupDestination
from haulback.kinds.api import TARGET, Ask, Results, Submission, TaskContext, TaskKind
from haulback.kinds.support import planning
from haulback.repository.backup_loss import check_backup
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk
from haulback.tasks.record import NewRestoreJob, Plan, Task
from haulback.wire import Named, Ref

_LONGEST = 2000  # letters of a restore job's status


class LocationRef(msgspec.Struct):
    """A backup location in a request; some clients name only the backup in it."""

    guid: str | None = None
    backup: Ref | None = None


class RestoreRequest(msgspec.Struct):
    """RestoreTaskRequest."""

    node: Ref
    restorePath: str
    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    storage: Ref | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class RestoreOrder(msgspec.Struct):
    """What to read; without a `path` only whether it can be read.  `skip` are names of disks.

    `pointer`: what follows reads straight from the repository, so only whether it is there.
    `files` are the disks of the backup: name, size in bytes, format.
    """

    backup: str
    destination: BackupDestination
    path: str | None = None
    skip: list[str] = []
    pointer: bool = False
    files: list[dict[str, Any]] = []


def plan(request: RestoreRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One RESTORE on the wanted node.  Raises Malformed, NotFound or Conflict."""
    if not request.restorePath.startswith("/"):
        raise Malformed("restorePath: name a folder by its absolute path", field="restorePath")
    where = "a restore to a node's file system has none; it"
    planning.refuse(request, where, "hypervisor", "hypervisorManager", "storage")
    backup = chosen(request.backup, request.backupLocation, catalogue)
    node = catalogue.places.node(request.node.guid)
    destination = catalogue.places.destination(backup.destination)
    if destination.node not in (None, node.guid):
        raise Malformed(f"node: {node.name} does not reach {destination.name}", field="node")
    job = new_job("RESTORE", backup, ask, {"node": node, "restorePath": request.restorePath})
    refs = {**references(backup, catalogue), "node": node, "restoreJob": Named(job.guid)}
    params = {"restorePath": request.restorePath, "restoreType": "RESTORE"}
    made = planning.task(
        "RESTORE",
        "restore",
        ask.of(job.project),
        request,
        refs=refs,
        params=params,
        pinned=node.guid,
    )
    return Plan([made], restores=[job])


def new_job(kind: str, backup: Backup, ask: Ask, target: dict[str, Any]) -> NewRestoreJob:
    """The record of a request to bring a backup back."""
    return NewRestoreJob(
        type=kind,
        entity=backup.entity,
        entity_name=backup.entity_name,
        backup=backup.guid,
        snapshot_time=backup.snapshot_time,
        size=backup.size,
        project=backup.project or ask.project,
        target=target,
    )


def chosen(backup: Ref | None, location: LocationRef | None, catalogue: Catalogue) -> Backup:
    """The stored backup a request means.  Raises Malformed, NotFound or Conflict."""
    if backup is None and location is None:
        raise Malformed("backup: name a backup or a backupLocation", field="backup")
    found = _found(backup or (location.backup if location else None), location, catalogue)
    if found.status != "SUCCESS":
        raise Conflict(f"backup {found.guid} is {found.status}; only a SUCCESS can be restored")
    if found.location_status in ("MISSING", "GIVEN_UP"):
        raise Conflict(
            f"backup {found.guid} is missing from its destination: bring its files back, then "
            "verify the destination",
            backup=found.guid,
        )
    return found


def _found(backup: Ref | None, location: LocationRef | None, catalogue: Catalogue) -> Backup:
    if location is None or not location.guid:
        if backup is None:
            raise Malformed("backupLocation: name its guid", field="backupLocation")
        return catalogue.backups.get(backup.guid)
    try:
        found = catalogue.backups.at_location(location.guid)
    except NotFound:
        if backup is None:
            raise
        return catalogue.backups.get(backup.guid)
    if backup is not None and backup.guid != found.guid:
        raise Malformed("backupLocation: belongs to another backup", field="backupLocation")
    return found


def references(backup: Backup, catalogue: Catalogue) -> dict[str, Named | None]:
    """What a task on a backup refers to."""
    return {
        "backup": Named(backup.guid, backup.entity_name),
        "backupDestination": planning.named(catalogue.places.destination(backup.destination)),
        "protectedEntity": catalogue.machines.get(backup.entity).named(),
    }


def prepare(task: Task, catalogue: Catalogue) -> RestoreOrder:
    backup = catalogue.backups.get(task.ref("backup") or "")
    destination = catalogue.places.destination(backup.destination)
    skip = task.params.get("skip", [])
    path, pointer = task.params.get("restorePath"), bool(task.params.get("pointer"))
    return RestoreOrder(backup.guid, destination, path, skip, pointer, backup.files)


def job_begun(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """A restore job goes on with this task."""
    ledger.restores.moved(task.ref("restoreJob") or "", "INPROGRESS", None, task)


def job_goes_on(task: Task, ledger: Ledger) -> None:
    """One of its tasks is over, and there is another."""
    ledger.restores.moved(task.ref("restoreJob") or "", "INPROGRESS", task.status_info, task)


def job_ended(task: Task, state: State, ledger: Ledger) -> None:
    """The last task of a restore job is over, and so is the job."""
    status = {State.FINISHED: "SUCCESS", State.CANCELLED: "CANCELLED"}.get(state, "FAILED")
    info = task.status_info or (_warnings(task) if state is State.FINISHED else None)
    ledger.restores.moved(task.ref("restoreJob") or "", status, info, task)


def _warnings(task: Task) -> str | None:
    """Sentences about parts that the restored machine goes without, as a node reports them."""
    said = msgspec.convert(task.results.get("warnings", []), list[str])
    return "; ".join(said).replace("\0", "")[:_LONGEST] or None


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """A job that goes on with an IMPORT is not over yet."""
    only = task.params.get("restoreType") == "RESTORE"
    if state is State.FINISHED and not only:
        job_goes_on(task, ledger)
    else:
        job_ended(task, state, ledger)
    if state is State.FINISHED and only and "path" in task.results:
        ledger.proofs.verified(task.ref("backup") or "")  # every disk was read, each chunk checked


def run(job: TaskContext) -> Results:
    order: RestoreOrder = job.order
    repository = job.repository(order.destination)
    manifest = repository.manifest(order.backup)
    if order.pointer:
        return {"disks": len(manifest.disks)}
    job.expect(sum(stored.map.size for stored in manifest.disks))
    if order.path is None:
        check_backup(repository, order.backup, job.meter, order.skip)
        return {"checked": True}
    target = job.target(order.path)
    if target.made:
        job.log("an earlier attempt restored everything already")
        return {"path": str(target.made)}
    for number in range(len(manifest.disks)):
        _write(job, repository, order.backup, number, target.folder)
    job.confirm()
    return {"path": str(target.commit())}


def _write(
    job: TaskContext, repository: Repository, backup: str, number: int, folder: Path
) -> None:
    """One disk as a raw file.  Its name on the platform is not trusted to be a file's."""
    stored = repository.manifest(backup).disks[number]
    sink = RawFile(folder / f"disk{number}.raw", stored.map.size)
    try:
        restore_disk(stored.map, repository.reader(), sink, job.pool, job.meter)
    finally:
        sink.close()


KIND = TaskKind(
    type="RESTORE",
    lane="restore",
    order=RestoreOrder,
    prepare=prepare,
    run=run,
    start=job_begun,
    settle=settle,
    members=TARGET,
    submissions=(
        Submission("restore", RestoreRequest, plan, many=False, summary="Create restore task."),
    ),
)
