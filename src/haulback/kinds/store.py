"""STORE: publishes what an EXPORT left in staging; only then the backup exists."""

from __future__ import annotations

import msgspec

from haulback.contract.task_states import State
from haulback.errors import BaseGone, HaulbackError, NotFound
from haulback.filesystems.browser import Browser
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import BackupDestination, BackupVolume, Hypervisor, IncrementBase
from haulback.kinds.api import Amount, Guid, Results, TaskContext, TaskKind
from haulback.kinds.export import WINDOW, read_results, unreported
from haulback.kinds.support.restore_items import as_volume
from haulback.kinds.transfer_info import lacking
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.tasks.record import Task
from haulback.transfer.store import store_machine

_LOOK_SECONDS = 20.0  # for finding file systems


class StoreOrder(msgspec.Struct):
    """What to publish; `staging` names the attempt that exported."""

    backup: str
    uuid: str
    staging: str
    hypervisor: Hypervisor
    destination: BackupDestination


def prepare(task: Task, catalogue: Catalogue) -> StoreOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    return StoreOrder(
        backup=task.ref("backup") or "",
        uuid=entity.uuid,
        staging=task.params["staging"],
        hypervisor=catalogue.places.hypervisor(entity.hypervisor),
        destination=catalogue.places.destination(task.ref("backupDestination") or ""),
    )


def run(job: TaskContext) -> Results:
    order: StoreOrder = job.order
    repository = job.repository(order.destination)
    folder = job.staging(order.staging)
    try:
        draft = repository.read_draft(folder, order.backup)
        job.confirm()
        manifest = store_machine(repository, folder, draft, job.disk)
    except NotFound:
        manifest = _stored_before(repository, order)
        job.discard(order.staging)
    job.count(manifest.stored)
    found = {"stored": manifest.stored, "parent": manifest.parent}
    return found | _volumes(job, repository, manifest) | job.space(order.destination)


def _volumes(job: TaskContext, repository: Repository, manifest: Manifest) -> Results:
    """The file systems in it, for who mounts some of them later; a backup is good without."""
    reader = repository.reader()
    disks = {disk.name: StoredDisk(disk.map, reader) for disk in manifest.disks}
    try:
        with Browser(disks, deadline=_LOOK_SECONDS) as browser:
            return {"volumes": [msgspec.to_builtins(as_volume(one)) for one in browser.volumes()]}
    except HaulbackError as error:
        job.log(f"what file systems it holds is not known: {error.message}")
        return {}


def _stored_before(repository: Repository, order: StoreOrder) -> Manifest:
    """What an attempt that died after publishing left.  Raises BaseGone when it left nothing."""
    try:
        return repository.manifest(order.backup)
    except NotFound:
        raise BaseGone("staging no longer holds the export; back up again") from None


class Stored(msgspec.Struct):
    """What the node reports; bytes."""

    stored: Amount
    parent: Guid | None = None
    totalSpace: Amount | None = None
    freeSpace: Amount | None = None
    volumes: list[BackupVolume] | None = None


def settle(task: Task, state: State, ledger: Ledger) -> None:
    backup = task.ref("backup") or ""
    ledger.backups.timed(task)
    if state is not State.FINISHED:
        ledger.backups.failed(backup, task.status_info or state.value)
        return
    exported = read_results(task.params.get("before", {}))
    if exported is None or lacking("STORE", task.results):
        before = task.params.get("before", {})
        said = ("STORE", task.results) if exported else ("EXPORT", before)
        ledger.backups.partial(backup, unreported(*said))
        return
    found = msgspec.convert(task.results, Stored)
    entity, destination = task.ref("protectedEntity") or "", task.ref("backupDestination") or ""
    ledger.backups.stored(backup, found.stored, found.parent)
    mark = exported.cbtId or exported.checkpoint
    ledger.bases.promote(IncrementBase(entity, destination, backup, mark))
    if found.volumes is not None:
        ledger.backups.contains(backup, found.volumes)
    ledger.destinations.space(destination, found.totalSpace, found.freeSpace)


def tidy(job: TaskContext) -> None:
    """The checkpoint that this backup's own replaces is of no use any more."""
    order: StoreOrder = job.order
    with job.alone(order.hypervisor, order.uuid):
        job.hypervisor(order.hypervisor).drop_checkpoints(order.uuid, job.needed())


KIND = TaskKind(
    type="STORE",
    lane="store",
    order=StoreOrder,
    prepare=prepare,
    run=run,
    settle=settle,
    tidy=tidy,
    window=WINDOW,
    retries=True,
)
