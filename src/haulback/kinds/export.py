"""EXPORT: reads what changed on a machine into staging; a STORE follows it."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.drivers.hypervisor import DiskView
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.records import Base, Catalogue, Destination, Entity, Hypervisor, Ledger
from haulback.kinds import planning
from haulback.kinds.seam import Ask, Job, Kind, Results, Submission
from haulback.tasks.record import HOUR_MS, NewBackup, Plan, Task
from haulback.tasks.states import BackupType, State
from haulback.transfer.export import Wanted, export_machine
from haulback.wire import Named, Ref

WINDOW = 5 * HOUR_MS


class Request(msgspec.Struct):
    """ExportTaskRequest; rules without destinations leave the choice to the server."""

    protectedEntities: list[Ref] | None = None  # noqa: N815 - the contract's spelling
    backupType: BackupType | None = None  # noqa: N815
    backupDestination: Ref | None = None  # noqa: N815
    priority: int | None = None
    windowStart: int | None = None  # noqa: N815
    windowEnd: int | None = None  # noqa: N815
    retryCount: int | None = None  # noqa: N815


class Order(msgspec.Struct):
    """What to read, and what the increment builds on."""

    backup: str
    uuid: str
    entity: str
    hypervisor: Hypervisor
    destination: Destination
    base: Base | None


class Exported(msgspec.Struct):
    """What the node reports: sizes in bytes, the checkpoint that the next increment may use."""

    type: str
    snapshotTime: int  # noqa: N815
    size: int
    read: int
    stored: int
    parent: str | None = None
    checkpoint: str | None = None


def plan(request: Request, catalogue: Catalogue, ask: Ask) -> Plan:
    """One EXPORT and its STORE for each entity.  Raises Malformed or NotFound for the first bad."""
    entities = planning.some("protectedEntities", request.protectedEntities)
    if request.backupType not in (None, BackupType.FULL, BackupType.INCREMENTAL):
        raise Malformed("backupType: an export is FULL or INCREMENTAL", field="backupType")
    chosen = request.backupDestination
    to = catalogue.destination(chosen.guid) if chosen else catalogue.default_destination()
    whole = Plan()
    for ref in entities:
        _plan_one(whole, catalogue.entity(ref.guid), to, request, catalogue, ask)
    return whole


def _plan_one(
    whole: Plan,
    entity: Entity,
    to: Destination,
    request: Request,
    catalogue: Catalogue,
    ask: Ask,
) -> None:
    if not entity.present:
        raise Malformed(f"protectedEntities: {entity.name} is no longer on its hypervisor")
    source = catalogue.hypervisor(entity.hypervisor)
    kind = request.backupType or BackupType.FULL
    backup = NewBackup(
        guid=new_guid(),
        entity=entity.guid,
        entity_name=entity.name,
        destination=to.guid,
        type=kind.value,
    )
    refs: dict[str, Named | None] = {
        "protectedEntity": entity.named(),
        "hypervisor": planning.named(source),
        "backupDestination": planning.named(to),
        "backup": Named(backup.guid, entity.name),
    }
    export = planning.task(
        "EXPORT",
        "export",
        ask,
        request,
        refs=refs,
        window=WINDOW,
        locked=entity.guid,
        source=source.guid,
        pinned=planning.pinned(source, to),
    )
    store = planning.task("STORE", "store", ask, request, refs=refs, window=WINDOW, follows=export)
    export.backup_type = store.backup_type = kind.value
    whole.tasks += [export, store]
    whole.backups.append(backup)


def prepare(task: Task, catalogue: Catalogue) -> Order:
    entity = catalogue.entity(task.ref("protectedEntity") or "")
    destination = catalogue.destination(task.ref("backupDestination") or "")
    wanted = task.backup_type == BackupType.INCREMENTAL.value
    return Order(
        backup=task.ref("backup") or "",
        uuid=entity.uuid,
        entity=entity.guid,
        hypervisor=catalogue.hypervisor(entity.hypervisor),
        destination=destination,
        base=catalogue.base(entity.guid, destination.guid) if wanted else None,
    )


def run(job: Job) -> Results:
    order: Order = job.order
    with job.alone(order.hypervisor, order.uuid):
        return _run(job, order)


def _run(job: Job, order: Order) -> Results:
    machines = job.hypervisor(order.hypervisor)
    repository = job.repository(order.destination)
    base = order.base
    # Attempts that died may have left some; the image must not collect them.
    machines.drop_checkpoints(order.uuid, job.needed())
    checkpoint = base.checkpoint if base else None
    with machines.snapshot(order.uuid, job.attempt, checkpoint) as snapshot:
        taken = job.now_ms()
        views = snapshot.views()
        for reason in _reasons(views) if base else []:
            job.log(reason)
        job.expect(_expected(views))
        draft = export_machine(
            snapshot,
            repository,
            job.folder,
            Wanted(order.backup, order.entity, taken),
            job.pool,
            base=base.backup if base else None,
            disk=job.disk,
            meter=job.meter,
        )
        mark = snapshot.checkpoint
    manifest = draft.manifest
    return {
        "type": manifest.type,
        "snapshotTime": taken,
        "size": sum(stored.map.size for stored in manifest.disks),
        "read": manifest.read,
        "stored": manifest.stored,
        "parent": manifest.parent,
        "checkpoint": mark,
    }


def _reasons(views: list[DiskView]) -> list[str]:
    return [f"{v.disk.name} is read whole: {v.reason}" for v in views if v.changed is None]


def _expected(views: list[DiskView]) -> int:
    """Bytes to read, before changes are widened to whole chunks."""
    extents: Any = (v.source.extents() if v.changed is None else v.changed for v in views)
    return sum(extent.length for one in extents for extent in one)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    backup = task.ref("backup") or ""
    if state is not State.FINISHED:
        ledger.backup_failed(backup, task.status_info or state.value)
        return
    found = read_results(task.results)
    ledger.exported(backup, found.type, found.snapshotTime, found.size, found.read)


def read_results(results: dict[str, Any]) -> Exported:
    """What a node says about an export.  Raises Malformed when it left something out."""
    try:
        return msgspec.convert(results, Exported)
    except msgspec.ValidationError as error:
        raise Malformed(f"transfer-info of an EXPORT: {error}") from None


KIND = Kind(
    type="EXPORT",
    lane="export",
    order=Order,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(Submission("export", Request, plan),),
    window=WINDOW,
    locks_entity=True,
    retries=True,
    stages=True,
)
