"""IMPORT: makes a machine of a backup; a RESTORE before it proves that the backup can be read."""

from __future__ import annotations

import msgspec

from haulback.drivers.capabilities import (
    InstantRestore,
    MachineTarget,
    PowerControl,
    capability,
)
from haulback.drivers.hypervisor import Machine, MachineSource, NetworkCardSettings
from haulback.errors import HaulbackError, Malformed
from haulback.ids import new_guid
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import (
    Backup,
    BackupDestination,
    Catalogue,
    Entity,
    Hypervisor,
    VirtualDisk,
)
from haulback.kinds import instant_restore, scoped_inventory_sync
from haulback.kinds.api import TARGET, Ask, Results, Submission, TaskContext, TaskKind
from haulback.kinds.restore import (
    LocationRef,
    chosen,
    job_begun,
    job_ended,
    new_job,
    references,
)
from haulback.kinds.support import planning, restore_target
from haulback.kinds.support.restore_items import RestoredNetwork, TaskFile
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import Allocation, State
from haulback.transfer.restore import RestoredMachine, RestoreTarget, import_machine, wanted_of
from haulback.wire import Named, Ref

MARK = "haulbackTask"  # in the definition of what an IMPORT made, so that it is made once


class DataCenter(msgspec.Struct):
    """Where to restore to, by name."""

    name: str | None = None


class BaseImage(msgspec.Struct):
    """The image a machine is made from; portals send an empty one."""

    uuid: str | None = None


class ImportMachineRequest(msgspec.Struct):
    """RestoreAndImportTaskRequest."""

    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    restoreClusterId: str | None = None
    restoreStorageId: str | None = None
    restoreProject: str | None = None
    restoredPeName: str | None = None
    dataCenter: DataCenter | None = None
    baseImage: BaseImage | None = None
    restoredDiskAllocationFormat: Allocation | None = None
    overwrite: bool | None = None
    restoreToOriginalVolumeType: bool | None = None
    restoreVmFlavor: Ref | None = None
    taskFiles: list[TaskFile] | None = None
    restoredNetworks: list[RestoredNetwork] | None = None
    dstProtectedEntity: Ref | None = None
    tenantId: str | None = None
    powerOnAfterRestore: bool | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class CardWish(msgspec.Struct):
    """How a network card, by its number, is to be; "" as it was."""

    number: int
    network: str = ""
    mac: str = ""


class ImportMachineOrder(msgspec.Struct):
    """What to make of which backup; an empty `name` keeps its own.

    `replaces` is the platform uuid of the one machine that is overwritten, "" for none; `skip` are
    names of disks to leave out, `rename` new names of disks by their old ones, `stores` storage
    pools by the same.  With a `share` the machine runs from that, at once.
    """

    backup: str
    destination: BackupDestination
    hypervisor: Hypervisor
    name: str
    replaces: str = ""
    allocate: bool = False
    skip: list[str] = []
    rename: dict[str, str] = {}
    stores: dict[str, str] = {}
    power_on: bool = False
    cards: list[CardWish] = []
    share: str = ""


def plan(request: ImportMachineRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """A RESTORE that checks and the IMPORT that follows.  Raises Malformed, NotFound, Conflict."""
    backup = chosen(request.backup, request.backupLocation, catalogue)
    to = restore_target.hypervisor(request, catalogue, catalogue.entity(backup.entity))
    restore_target.honoured(request, to, catalogue)
    name = restore_target.name_of(request, catalogue)
    destination = catalogue.destination(backup.destination)
    node = planning.pinned(to, destination)
    replaced = _replaced(request, catalogue, to, backup, name)
    target = (
        replaced.named()
        if replaced
        else restore_target.target(request, catalogue, backup.entity, name)
    )
    job = new_job(
        "RESTORE_AND_IMPORT", backup, ask, {"hypervisor": planning.named(to), "name": name}
    )
    refs = {
        **references(backup, catalogue),
        **planning.platform(to, catalogue),
        "dstProtectedEntity": target,
        "restoreJob": Named(job.guid),
    }
    form = request.restoredDiskAllocationFormat or Allocation.PREALLOCATED
    common = {
        "restoreType": "RESTORE_AND_IMPORT",
        "overwrite": bool(request.overwrite),
        "replaces": replaced.uuid if replaced else "",
        "powerOnAfterRestore": bool(request.powerOnAfterRestore),
        "restoredDiskAllocationFormat": form.value,
        **restore_target.wishes(request, name, to, backup, catalogue),
    }
    ask = ask.of(job.project or (request.tenantId or "")[:80] or None)
    first = planning.task("RESTORE", "restore", ask, request, refs=refs, params=common, pinned=node)
    second = planning.task(
        "IMPORT",
        "import",
        ask,
        request,
        refs=refs,
        params=common,
        pinned=node,
        locked=replaced.guid if replaced else None,
        follows=first,
    )
    whole = Plan([first, second], restores=[job])
    return scoped_inventory_sync.followed(whole, to, ask)


def _replaced(
    request: ImportMachineRequest, catalogue: Catalogue, to: Hypervisor, backup: Backup, name: str
) -> Entity | None:
    """The one machine that is overwritten: the one named, else the backup's own.

    Raises NotFound for one that is not the caller's, Malformed for one elsewhere.
    """
    if not request.overwrite:
        return None
    if target := request.dstProtectedEntity:
        found = catalogue.entity(target.guid)
        if found.hypervisor != to.guid:
            field = "dstProtectedEntity"
            raise Malformed(f"{field}: {found.name} is not on {to.name}", field=field)
        return found
    own = catalogue.entity(backup.entity)
    if name in ("", own.name) and own.hypervisor == to.guid and own.present:
        return own
    return catalogue.machine_named(to.guid, name or own.name)


def prepare(task: Task, catalogue: Catalogue) -> ImportMachineOrder:
    backup = catalogue.backup(task.ref("backup") or "")
    params = task.params
    return ImportMachineOrder(
        backup.guid,
        catalogue.destination(backup.destination),
        catalogue.hypervisor(task.ref("hypervisor") or ""),
        str(params["restoredPeName"]),
        str(params.get("replaces", "")),
        params.get("restoredDiskAllocationFormat") == Allocation.PREALLOCATED.value,
        params.get("skip", []),
        params.get("rename", {}),
        params.get("stores", {}),
        bool(params.get("powerOnAfterRestore")),
        msgspec.convert(params.get("cards", []), list[CardWish]),
        task.ref("mountedBackup") or "",
    )


def run(job: TaskContext) -> Results:
    order: ImportMachineOrder = job.order
    machines = job.hypervisor(order.hypervisor)
    machine, left = _made_before(job, machines) or _make(job, machines)
    for sentence in left:
        job.log(sentence)
    if order.power_on:
        _start(machines, machine, order)
    disks = [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks]
    return {
        "uuid": machine.uuid,
        "name": machine.name,
        "disks": disks,
        "restoreHostId": order.hypervisor.guid,
        "restoreStorageId": str(order.hypervisor.config.get("path", "")),
        "warnings": left,
    }


def _made_before(job: TaskContext, machines: MachineSource) -> RestoredMachine | None:
    for machine in machines.inventory().machines:
        if machine.definition.get(MARK) == job.guid:
            job.log("an earlier attempt made the machine already")
            return RestoredMachine(machine, [])
    return None


def _make(job: TaskContext, machines: MachineSource) -> RestoredMachine:
    order: ImportMachineOrder = job.order
    repository = job.repository(order.destination)
    manifest = repository.manifest(order.backup)
    target = RestoreTarget(
        uuid=order.replaces,
        name=order.name,
        overwrite=bool(order.replaces),
        allocate=order.allocate,
        skip=frozenset(order.skip),
        rename=order.rename,
        stores=order.stores,
        cards=tuple(NetworkCardSettings(one.number, one.network, one.mac) for one in order.cards),
        marks={MARK: job.guid},
    )
    if order.share:
        wanted = wanted_of(manifest, target)
        overlays, socket = capability(machines, InstantRestore), job.share_socket(order.share)
        with overlays.create_over(wanted, socket, job.attempt) as new:
            job.confirm()
            return RestoredMachine(new.commit(), new.left_out())
    job.expect(sum(disk.map.size for disk in manifest.disks if disk.name not in order.skip))
    return import_machine(
        repository,
        manifest,
        capability(machines, MachineTarget),
        job.attempt,
        target,
        job.pool,
        job.meter,
        job.confirm,
    )


def _start(machines: MachineSource, machine: Machine, order: ImportMachineOrder) -> None:
    """One that runs from a share and cannot start is nothing to keep: its backup is all it has."""
    try:
        capability(machines, PowerControl).start(machine.uuid)
    except HaulbackError:
        if order.share:
            capability(machines, MachineTarget).remove(machine.uuid)
        raise


class Imported(msgspec.Struct):
    """What the node reports: the machine as it is now."""

    uuid: str
    name: str
    disks: list[VirtualDisk] = []


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """A machine that came back is in the inventory at once."""
    job_ended(task, state, ledger)
    share = task.ref("mountedBackup")
    if share and state is not State.FINISHED:
        ledger.mount_until(share, ledger.now)
    if state is State.FINISHED and not task.params.get("skip") and not share:
        ledger.verified(task.ref("backup") or "")  # every disk was read, each chunk checked
    if state is not State.FINISHED or "uuid" not in task.results:
        return  # a node that does not say what it made: the next inventory will
    found = msgspec.convert(task.results, Imported)
    entity = Entity(
        guid=new_guid(),
        uuid=found.uuid,
        name=found.name,
        hypervisor=task.ref("hypervisor") or "",
        disks=found.disks,
        project=task.project,
    )
    ledger.inventory(entity.hypervisor, [entity], complete_since=None)
    if share:
        ledger.runs_from(share, entity.hypervisor, found.uuid)


KIND = TaskKind(
    type="IMPORT",
    lane="import",
    order=ImportMachineOrder,
    prepare=prepare,
    run=run,
    start=job_begun,
    settle=settle,
    members=TARGET,
    submissions=(
        Submission(
            "restore-and-import",
            ImportMachineRequest,
            plan,
            many=False,
            summary="Create restore and import task.",
        ),
        instant_restore.SUBMISSION,
    ),
)
