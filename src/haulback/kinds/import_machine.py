"""IMPORT: makes a machine of a backup; a RESTORE before it proves that the backup can be read."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.errors import Malformed, Unsupported
from haulback.ids import new_guid
from haulback.inventory.records import Catalogue, Destination, Disk, Entity, Hypervisor, Ledger
from haulback.kinds import planning
from haulback.kinds.restore import LocationRef, chosen, references
from haulback.kinds.seam import Ask, Job, Kind, Results, Submission
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.transfer.bring_back import Target, import_machine
from haulback.wire import Named, Ref, label

MARK = "haulbackTask"  # in the definition of what an IMPORT made, so that it is made once


class Allocation(Enum):
    """How restored disks are laid out."""

    PREALLOCATED = "PREALLOCATED"
    SPARSE = "SPARSE"


class Request(msgspec.Struct):
    """RestoreAndImportTaskRequest."""

    backup: Ref | None = None
    backupLocation: LocationRef | None = None  # noqa: N815 - the contract's spelling
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None  # noqa: N815
    restoredPeName: str | None = None  # noqa: N815
    overwrite: bool | None = None
    restoredDiskAllocationFormat: Allocation | None = None  # noqa: N815
    dstProtectedEntity: Ref | None = None  # noqa: N815
    priority: int | None = None
    windowStart: int | None = None  # noqa: N815
    windowEnd: int | None = None  # noqa: N815


class Order(msgspec.Struct):
    """What to make of which backup; an empty `name` keeps its own."""

    backup: str
    destination: Destination
    hypervisor: Hypervisor
    name: str
    overwrite: bool


def plan(request: Request, catalogue: Catalogue, ask: Ask) -> Plan:
    """A RESTORE that checks and the IMPORT that follows.  Raises Malformed, NotFound, Conflict."""
    backup = chosen(request.backup, request.backupLocation, catalogue)
    to = _hypervisor(request, catalogue)
    name = request.restoredPeName or _wanted_name(request, catalogue) or ""
    if len(name) > 200 or any(ord(letter) < 32 for letter in name):
        raise Malformed("restoredPeName: at most 200 printable characters", field="restoredPeName")
    destination = catalogue.destination(backup.destination)
    node = planning.pinned(to, destination)
    refs = {**references(backup, catalogue), "hypervisor": planning.named(to)}
    refs["dstProtectedEntity"] = _target(request, catalogue, backup.entity, name)
    form = request.restoredDiskAllocationFormat or Allocation.PREALLOCATED
    common = {
        "restoreType": "RESTORE_AND_IMPORT",
        "restoredPeName": name,
        "overwrite": bool(request.overwrite),
        "restoredDiskAllocationFormat": form.value,
    }
    first = planning.task("RESTORE", "restore", ask, request, refs=refs, params=common, pinned=node)
    second = planning.task(
        "IMPORT",
        "import",
        ask,
        request,
        refs=refs,
        params=common,
        pinned=node,
        follows=first,
    )
    return Plan([first, second])


def _hypervisor(request: Request, catalogue: Catalogue) -> Hypervisor:
    if request.hypervisor:
        return catalogue.hypervisor(request.hypervisor.guid)
    if request.hypervisorManager:
        raise Unsupported("hypervisorManager: no manager is known here; name a hypervisor")
    raise Malformed("hypervisor: name the one to import to", field="hypervisor")


def _wanted_name(request: Request, catalogue: Catalogue) -> str | None:
    """The machine a client wants to have replaced, by name."""
    target = request.dstProtectedEntity
    return catalogue.entity(target.guid).name if target else None


def _target(request: Request, catalogue: Catalogue, source: str, name: str) -> Named:
    """Portals read `dstProtectedEntity.name` in the answer."""
    if request.dstProtectedEntity:
        return catalogue.entity(request.dstProtectedEntity.guid).named()
    entity = catalogue.entity(source)
    return Named(entity.guid, name or entity.name, label(entity.type))


def prepare(task: Task, catalogue: Catalogue) -> Order:
    backup = catalogue.backup(task.ref("backup") or "")
    return Order(
        backup.guid,
        catalogue.destination(backup.destination),
        catalogue.hypervisor(task.ref("hypervisor") or ""),
        str(task.params["restoredPeName"]),
        bool(task.params["overwrite"]),
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
        job.expect(sum(disk.map.size for disk in repository.manifest(order.backup).disks))
        machine = import_machine(
            repository,
            order.backup,
            machines,
            job.attempt,
            Target(name=order.name, overwrite=order.overwrite),
            job.pool,
            job.meter,
            marks={MARK: job.guid},
            confirm=job.confirm,
        )
    disks = [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks]
    return {"uuid": machine.uuid, "name": machine.name, "disks": disks}


class Imported(msgspec.Struct):
    """What the node reports: the machine as it is now."""

    uuid: str
    name: str
    disks: list[Disk]


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """A machine that came back is in the inventory at once."""
    if state is not State.FINISHED:
        return
    found = msgspec.convert(task.results, Imported)
    entity = Entity(
        guid=new_guid(),
        uuid=found.uuid,
        name=found.name,
        hypervisor=task.ref("hypervisor") or "",
        disks=found.disks,
    )
    ledger.inventory(entity.hypervisor, [entity], complete_since=None)


KIND = Kind(
    type="IMPORT",
    lane="import",
    order=Order,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(Submission("restore-and-import", Request, plan, many=False),),
)
