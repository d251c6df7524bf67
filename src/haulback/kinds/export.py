"""EXPORT: reads what changed on a machine into staging; a STORE follows it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Literal

import msgspec

from haulback.drivers.capabilities import GuestOperations, capability
from haulback.drivers.hypervisor import DiskView, Machine, MachineSource
from haulback.errors import Malformed, Unsupported
from haulback.ids import new_guid
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import (
    BackupDestination,
    Catalogue,
    Entity,
    Hypervisor,
    IncrementBase,
    VirtualDisk,
)
from haulback.kinds import scoped_inventory_sync
from haulback.kinds.api import (
    Amount,
    Ask,
    Guid,
    Mark,
    Name,
    Results,
    Submission,
    TaskContext,
    TaskKind,
)
from haulback.kinds.support import planning
from haulback.kinds.support.destination_choice import Goal, Goals
from haulback.kinds.transfer_info import lacking
from haulback.tasks.record import HOUR_MS, NewBackup, Plan, Task
from haulback.tasks.states import BackupType, EntityType, State
from haulback.transfer.export import ExportSpec, export_machine
from haulback.wire import Named, Ref

WINDOW = 5 * HOUR_MS
ASKED = "askedType"  # the parameter of a task whose backup became another type
_INCREMENTAL = BackupType.INCREMENTAL.value


class ExportRequest(msgspec.Struct):
    """ExportTaskRequest; without rules and destination each machine's own policy decides."""

    protectedEntities: list[Ref]
    backupType: BackupType | None = None
    backupDestination: Ref | None = None
    rules: list[Ref] | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None
    retryCount: int | None = None
    protectedEntityType: EntityType | None = None
    async_: bool | None = msgspec.field(default=None, name="async")
    tenantId: str | None = None


class ExportOrder(msgspec.Struct):
    """What to read, and what the increment builds on; `excluded` are names of disks.

    `wanted` is the type of backup that was asked for.  `machine` is the name there, `disks` are
    those of the last look, `place` is where the platform keeps the machine.

    `before` and `after` are commands for the guest, around the moment of the snapshot.
    """

    backup: str
    uuid: str
    entity: str
    hypervisor: Hypervisor
    destination: BackupDestination
    base: IncrementBase | None
    excluded: list[str] = []
    before: str = ""
    after: str = ""
    wanted: str = "FULL"
    machine: str = ""
    disks: list[VirtualDisk] = []
    place: str = ""


class FileSeen(msgspec.Struct):
    """A disk in an export, size in bytes."""

    name: Name
    size: Amount
    format: Name = "raw"


class ExportResult(msgspec.Struct):
    """What the node reports: sizes in bytes, the checkpoint that the next increment may use."""

    type: Literal["FULL", "INCREMENTAL"]
    snapshotTime: Amount
    size: Amount
    read: Amount
    stored: Amount
    parent: Guid | None = None
    checkpoint: Mark | None = None
    cbtId: Mark | None = None
    files: list[FileSeen] = []
    definition: dict[str, Any] = {}
    warnings: list[str] = []
    consistency: Literal["STOPPED", "APPLICATION", "CRASH"] | None = None


def plan(request: ExportRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One EXPORT and its STORE for each entity and rule.

    Raises Malformed or NotFound for the first bad.
    """
    if request.backupType not in (None, BackupType.FULL, BackupType.INCREMENTAL):
        why = {
            BackupType.SYNTHETIC: "every backup here is complete in itself, none is synthesised",
            BackupType.SYNCHRONIZATION: "copies to a second destination are not made yet",
        }[request.backupType]
        raise Malformed(
            f"backupType: {request.backupType.value} is not served, {why}; ask for FULL or "
            "INCREMENTAL",
            field="backupType",
        )
    if request.tenantId and not ask.project:
        ask = ask.of(request.tenantId[:80])
    refs = planning.some("protectedEntities", request.protectedEntities)
    goals, whole = Goals(request.backupDestination, request.rules, catalogue), Plan()
    entities = catalogue.entities_of([ref.guid for ref in refs])
    for entity in entities:
        _check(entity, request)
        for goal in goals.of(entity):
            _plan_one(whole, entity, goal, request, catalogue, ask)
    whole.besides = scoped_inventory_sync.before(entities, catalogue, ask, request)
    return whole


def _check(entity: Entity, request: ExportRequest) -> None:
    if not entity.present:
        raise Malformed(f"protectedEntities: {entity.name} is no longer on its hypervisor")
    wanted = request.protectedEntityType
    if wanted and wanted.value != entity.type:
        raise Malformed(
            f"protectedEntityType: {entity.name} is a {entity.type}, not a {wanted.value}",
            field="protectedEntityType",
        )


def _plan_one(
    whole: Plan,
    entity: Entity,
    goal: Goal,
    request: ExportRequest,
    catalogue: Catalogue,
    ask: Ask,
) -> None:
    source = catalogue.hypervisor(entity.hypervisor)
    kind = request.backupType or BackupType.FULL
    request = goal.applied(request)
    project = entity.project or ask.project
    backup = NewBackup(
        guid=new_guid(),
        entity=entity.guid,
        entity_name=entity.name,
        destination=goal.to.guid,
        type=kind.value,
        project=project,
        rule=goal.rule.guid if goal.rule else None,
    )
    refs: dict[str, Named | None] = {
        "protectedEntity": entity.named(),
        **planning.platform(source, catalogue),
        "backupDestination": planning.named(goal.to),
        "backup": Named(backup.guid, entity.name),
        "rule": planning.named(goal.rule) if goal.rule else None,
    }
    ask = ask.of(project)
    params = {"incSnapRequired": catalogue.is_scheduled(entity.guid)}
    if goal.thresholds:
        params["thresholds"] = goal.thresholds  # type: ignore[assignment]
    export = planning.task(
        "EXPORT",
        "export",
        ask,
        request,
        refs=refs,
        params=params,
        window=WINDOW,
        locked=entity.guid,
        source=source.guid,
        pinned=planning.pinned(source, goal.to),
        run=goal.run,
    )
    store = planning.task(
        "STORE",
        "store",
        ask,
        request,
        refs=refs,
        params=dict(params),
        window=WINDOW,
        follows=export,
        run=goal.run,
    )
    export.backup_type = store.backup_type = kind.value
    whole.tasks += [export, store]
    whole.backups.append(backup)


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    ledger.backup_started(task.ref("backup") or "")


def prepare(task: Task, catalogue: Catalogue) -> ExportOrder:
    entity = catalogue.entity(task.ref("protectedEntity") or "")
    destination = catalogue.destination(task.ref("backupDestination") or "")
    wanted = asked_type(task)
    return ExportOrder(
        backup=task.ref("backup") or "",
        uuid=entity.uuid,
        entity=entity.guid,
        hypervisor=catalogue.hypervisor(entity.hypervisor),
        destination=destination,
        base=catalogue.base(entity.guid, destination.guid) if wanted == _INCREMENTAL else None,
        wanted=wanted,
        machine=entity.name,
        disks=entity.disks,
        place=entity.place,
        excluded=entity.settings.get("excludedDisks", []),
        before=entity.settings.get("preCommand", ""),
        after=entity.settings.get("postCommand", ""),
    )


def run(job: TaskContext) -> Results:
    order: ExportOrder = job.order
    with job.alone(order.hypervisor, order.uuid):
        return _run(job, order)


def _run(job: TaskContext, order: ExportOrder) -> Results:
    machines = job.hypervisor(order.hypervisor)
    repository = job.repository(order.destination)
    base = order.base
    # Attempts that died may have left some; the image must not collect them.
    machines.drop_checkpoints(order.uuid, job.needed())
    checkpoint = base.checkpoint if base else None
    reasons: list[str] = []

    def warn(text: str) -> None:
        reasons.append(text)
        job.log(text)

    with ExitStack() as held:
        with _commands(machines, order, warn):
            snapshot = held.enter_context(machines.snapshot(order.uuid, job.attempt, checkpoint))
        taken = job.now_ms()
        views = [v for v in snapshot.views() if v.disk.name not in order.excluded]
        missing = _missing(snapshot.machine, order.excluded)
        if missing and not views:
            raise Unsupported(f"{snapshot.machine.name} has no disk to back up: {missing[0]}")
        for reason in missing:
            warn(reason)
        for reason in _reasons(views) if base else []:
            warn(reason)
        job.expect(_expected(views))
        draft = export_machine(
            snapshot,
            repository,
            job.folder,
            ExportSpec(order.backup, order.entity, taken, frozenset(order.excluded)),
            job.pool,
            base=base.backup if base else None,
            disk=job.disk,
            meter=job.meter,
            warn=warn,
            memory=job.pack_memory(repository),
        )
        mark = snapshot.checkpoint
    manifest = draft.manifest
    if order.wanted == _INCREMENTAL and manifest.type != order.wanted:
        if base is None:
            warn(f"{order.destination.name} has no backup that an increment can build on")
        job.became(manifest.type)
    disks = [{"name": d.name, "size": d.map.size, "format": d.format} for d in manifest.disks]
    return {
        "type": manifest.type,
        "snapshotTime": taken,
        "size": sum(stored.map.size for stored in manifest.disks),
        "read": manifest.read,
        "stored": manifest.stored,
        "parent": manifest.parent,
        "checkpoint": mark,
        "files": disks,
        "definition": manifest.definition,
        "warnings": reasons,
        "consistency": snapshot.consistency,
    }


def _commands(
    machines: MachineSource, order: ExportOrder, warn: Callable[[str], None]
) -> AbstractContextManager[None]:
    """Block that runs the commands of the machine's settings in the guest.

    Raises Unsupported for commands on a hypervisor that cannot run them.
    """
    if not order.before + order.after:
        return nullcontext()
    guests = capability(machines, GuestOperations)
    return guests.around(order.uuid, order.before, order.after, warn)


def _missing(machine: Machine, excluded: Collection[str]) -> list[str]:
    """A sentence about each part of a machine that its backup does not hold, or holds torn."""
    apart = [
        f"{one.name} is in the backup, but {one.why}"
        if one.held
        else f"{one.name} is not in the backup: {one.why}"
        for one in machine.apart
    ]
    left = [disk.name for disk in machine.disks if disk.name in excluded]
    return [
        *apart,
        *(f"{name} is not in the backup: the machine's settings exclude it" for name in left),
    ]


def _reasons(views: list[DiskView]) -> list[str]:
    return [f"{v.disk.name} is read whole: {v.reason}" for v in views if v.changed is None]


def _expected(views: list[DiskView]) -> int:
    """Bytes to read, before changes are widened to whole chunks."""
    extents: Any = (v.source.extents() if v.changed is None else v.changed for v in views)
    return sum(extent.length for one in extents for extent in one)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    backup = task.ref("backup") or ""
    ledger.timed(task)
    if state is not State.FINISHED:
        ledger.backup_failed(backup, task.status_info or state.value)
        return
    found = read_results(task.results)
    if found is None:
        ledger.backup_partial(backup, unreported("EXPORT", task.results))
        return
    asked = asked_type(task)
    if found.type != task.backup_type:
        ledger.became(task, found.type, [])
    ledger.exported(backup, found.type, found.snapshotTime, found.size, found.read)
    ledger.described(backup, msgspec.to_builtins(found.files), found.definition)
    other = [other_type(asked, found.type)] if found.type != asked else []
    ledger.warned(backup, [*other, *found.warnings])
    ledger.consistent(backup, found.consistency)


def unreported(kind: str, results: dict[str, Any]) -> str:
    """Why a backup cannot be restored whose node left out members of its report."""
    names = ", ".join(lacking(kind, results))
    return f"the node did not report what a restore needs: {names} in transfer-info of the {kind}"


def asked_type(task: Task) -> str:
    """The type of backup that a person or a schedule asked for, whatever it became since."""
    return str(task.params.get(ASKED) or task.backup_type or BackupType.FULL.value)


def other_type(asked: str, made: str) -> str:
    """The warning of a backup whose type is another than the one that was asked for."""
    return f"the backup is {made}: it was asked for as {asked}"


def read_results(results: dict[str, Any]) -> ExportResult | None:
    """What a node says about an export; None when it left out what a restore needs.

    Raises Malformed for what is not of the right type.
    """
    if lacking("EXPORT", results):
        return None
    try:
        found = msgspec.convert(results, ExportResult)
    except msgspec.ValidationError as error:
        raise Malformed(f"transfer-info of an EXPORT: {error}") from None
    if any("\0" in text for text in (*found.warnings, *(file.name for file in found.files))):
        raise Malformed("transfer-info of an EXPORT: a text holds a NUL")
    return found


KIND = TaskKind(
    type="EXPORT",
    lane="export",
    order=ExportOrder,
    prepare=prepare,
    run=run,
    start=start,
    settle=settle,
    submissions=(
        Submission("export", ExportRequest, plan, summary="Create list of export tasks."),
    ),
    window=WINDOW,
    members=frozenset({"backupType", "cbtId", "incSnapRequired", "taskFiles"}),
    retries=True,
    stages=True,
)
