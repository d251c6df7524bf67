"""IMPORT: makes a machine of a backup; a RESTORE before it proves that the backup can be read."""

from __future__ import annotations

import msgspec

from haulback.drivers.hypervisor import Card
from haulback.errors import Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory.platforms import PLATFORMS
from haulback.inventory.records import (
    Backup,
    Catalogue,
    Destination,
    Disk,
    Entity,
    Hypervisor,
    Ledger,
)
from haulback.kinds import planning
from haulback.kinds.parts import RestoredNetwork, TaskFile, cards_wanted, disks_of
from haulback.kinds.restore import (
    LocationRef,
    chosen,
    job_begun,
    job_ended,
    new_job,
    references,
)
from haulback.kinds.seam import Ask, Job, Kind, Results, Submission
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import Allocation, State
from haulback.transfer.bring_back import Target, import_machine
from haulback.wire import Named, Ref, label

MARK = "haulbackTask"  # in the definition of what an IMPORT made, so that it is made once


class DataCenter(msgspec.Struct):
    """Where to restore to, by name."""

    name: str | None = None


class BaseImage(msgspec.Struct):
    """The image a machine is made from; portals send an empty one."""

    uuid: str | None = None


class Request(msgspec.Struct):
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


class Order(msgspec.Struct):
    """What to make of which backup; an empty `name` keeps its own.

    `replaces` is the platform uuid of the one machine that is overwritten, "" for none; `skip` are
    names of disks to leave out, `rename` new names of disks by their old ones.
    """

    backup: str
    destination: Destination
    hypervisor: Hypervisor
    name: str
    replaces: str = ""
    allocate: bool = False
    skip: list[str] = []
    rename: dict[str, str] = {}
    power_on: bool = False
    cards: list[CardWish] = []


def plan(request: Request, catalogue: Catalogue, ask: Ask) -> Plan:
    """A RESTORE that checks and the IMPORT that follows.  Raises Malformed, NotFound, Conflict."""
    backup = chosen(request.backup, request.backupLocation, catalogue)
    to = _hypervisor(request, catalogue)
    _honoured(request, to, catalogue)
    name = _name(request, catalogue)
    destination = catalogue.destination(backup.destination)
    node = planning.pinned(to, destination)
    replaced = _replaced(request, catalogue, to, backup, name)
    target = replaced.named() if replaced else _target(request, catalogue, backup.entity, name)
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
        "restoredPeName": name,
        "overwrite": bool(request.overwrite),
        "replaces": replaced.uuid if replaced else "",
        "restoreClusterId": request.restoreClusterId or None,
        "restoreStorageId": request.restoreStorageId or None,
        "powerOnAfterRestore": bool(request.powerOnAfterRestore),
        "restoredDiskAllocationFormat": form.value,
        **disks_of(request.taskFiles, backup),
        **cards_wanted(request.restoredNetworks, backup, catalogue),
    }
    ask = msgspec.structs.replace(ask, project=job.project or (request.tenantId or "")[:80] or None)
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
    return Plan([first, second], restores=[job])


def _hypervisor(request: Request, catalogue: Catalogue) -> Hypervisor:
    if request.hypervisor and not request.hypervisorManager:
        return catalogue.hypervisor(request.hypervisor.guid)
    if not request.hypervisorManager:
        raise Malformed("hypervisor: name the one to import to", field="hypervisor")
    manager = catalogue.record("hypervisor-manager", request.hypervisorManager.guid)
    if request.hypervisor:
        named = catalogue.hypervisor(request.hypervisor.guid)
        if named.settings.get("hypervisorManager") != manager.guid:
            field = "hypervisorManager"
            raise Malformed(f"{field}: {named.name} does not belong to it", field=field)
        return named
    for one in catalogue.hypervisors():
        if one.settings.get("hypervisorManager") == manager.guid:
            return one
    raise NotFound(f"hypervisorManager: {manager.name} has no hypervisor", guid=manager.guid)


def _honoured(request: Request, to: Hypervisor, catalogue: Catalogue) -> None:
    """Raises Malformed for what the platform cannot do; nothing that matters is passed over."""
    platform = PLATFORMS[to.driver]
    fields = ["restoreProject", "restoreVmFlavor"]
    fields += [] if platform.networks else ["restoredNetworks"]
    fields += [] if platform.power_on else ["powerOnAfterRestore"]
    planning.refuse(request, platform.words, *fields)
    planning.refuse(request.dataCenter, platform.words, "name", within="dataCenter.")
    planning.refuse(request.baseImage, platform.words, "uuid", within="baseImage.")
    storage = str(to.config.get("path", ""))  # the one there is: its folder
    if request.restoreClusterId not in (None, "", _cluster(to, catalogue)):
        raise Malformed(f"restoreClusterId: {to.name} is not in it", field="restoreClusterId")
    if request.restoreStorageId not in (None, "", storage):
        raise Malformed(f"restoreStorageId: {to.name} does not have it", field="restoreStorageId")
    for i, file in enumerate(request.taskFiles or []):
        if file.storageId not in (None, "", storage):
            field = f"taskFiles[{i}].storageId"
            raise Malformed(f"{field}: {to.name} does not have it", field=field)
        planning.refuse(file, platform.words, "config", within=f"taskFiles[{i}].")


def _cluster(to: Hypervisor, catalogue: Catalogue) -> str | None:
    """The uuid of the cluster that a hypervisor is in."""
    guid = to.settings.get("cluster")
    return catalogue.record("hypervisor-cluster", guid).body.get("uuid") if guid else None


def _replaced(
    request: Request, catalogue: Catalogue, to: Hypervisor, backup: Backup, name: str
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


def _name(request: Request, catalogue: Catalogue) -> str:
    """The name wanted, or that of the machine a client wants to have replaced."""
    target = request.dstProtectedEntity
    name = request.restoredPeName or (catalogue.entity(target.guid).name if target else "")
    if len(name) > 200 or any(ord(letter) < 32 for letter in name):
        raise Malformed("restoredPeName: at most 200 printable characters", field="restoredPeName")
    return name


def _target(request: Request, catalogue: Catalogue, source: str, name: str) -> Named:
    """Portals read `dstProtectedEntity.name` in the answer."""
    if request.dstProtectedEntity:
        return catalogue.entity(request.dstProtectedEntity.guid).named()
    entity = catalogue.entity(source)
    return Named(entity.guid, name or entity.name, label(entity.type))


def prepare(task: Task, catalogue: Catalogue) -> Order:
    backup = catalogue.backup(task.ref("backup") or "")
    params = task.params
    return Order(
        backup.guid,
        catalogue.destination(backup.destination),
        catalogue.hypervisor(task.ref("hypervisor") or ""),
        str(params["restoredPeName"]),
        str(params.get("replaces", "")),
        params.get("restoredDiskAllocationFormat") == Allocation.PREALLOCATED.value,
        params.get("skip", []),
        params.get("rename", {}),
        bool(params.get("powerOnAfterRestore")),
        msgspec.convert(params.get("cards", []), list[CardWish]),
    )


def run(job: Job) -> Results:
    order: Order = job.order
    machines = job.hypervisor(order.hypervisor)
    for machine in machines.inventory().machines:
        if machine.definition.get(MARK) == job.guid:
            job.log("an earlier attempt made the machine already")
            break
    else:
        repository = job.repository(order.destination)
        wanted = repository.manifest(order.backup).disks
        job.expect(sum(disk.map.size for disk in wanted if disk.name not in order.skip))
        machine = import_machine(
            repository,
            order.backup,
            machines,
            job.attempt,
            Target(
                uuid=order.replaces,
                name=order.name,
                overwrite=bool(order.replaces),
                allocate=order.allocate,
                skip=frozenset(order.skip),
                rename=order.rename,
                cards=tuple(Card(one.number, one.network, one.mac) for one in order.cards),
            ),
            job.pool,
            job.meter,
            marks={MARK: job.guid},
            confirm=job.confirm,
        )
    if order.power_on:
        machines.start(machine.uuid)
    disks = [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks]
    return {
        "uuid": machine.uuid,
        "name": machine.name,
        "disks": disks,
        "restoreHostId": order.hypervisor.guid,
        "restoreStorageId": str(order.hypervisor.config.get("path", "")),
    }


class Imported(msgspec.Struct):
    """What the node reports: the machine as it is now."""

    uuid: str
    name: str
    disks: list[Disk] = []


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """A machine that came back is in the inventory at once."""
    job_ended(task, state, ledger)
    if state is State.FINISHED and not task.params.get("skip"):
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


KIND = Kind(
    type="IMPORT",
    lane="import",
    order=Order,
    prepare=prepare,
    run=run,
    start=job_begun,
    settle=settle,
    submissions=(
        Submission(
            "restore-and-import",
            Request,
            plan,
            many=False,
            summary="Create restore and import task.",
        ),
    ),
)
