"""EXPORT on the node: read the changes of a machine into staging."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from haulback.contract.backups import BackupType
from haulback.contract.export import ExportOrder
from haulback.drivers.capabilities import GuestOperations, capability
from haulback.drivers.hypervisor import DiskView, Machine, MachineSource
from haulback.errors import Unsupported
from haulback.transfer.export import ExportServices, ExportSpec, export_machine
from haulback.work.context import Results, TaskContext, TaskWork


def run(context: TaskContext) -> Results:
    order: ExportOrder = context.order
    with context.machines.lock(order.hypervisor, order.uuid):
        return _run(context, order)


def _run(context: TaskContext, order: ExportOrder) -> Results:
    machines = context.machines.open(order.hypervisor)
    repository = context.repositories.open(order.destination)
    base = order.base
    # Attempts that died may have left some; the image must not collect them.
    machines.drop_checkpoints(order.uuid, context.server.needed())
    checkpoint = base.checkpoint if base else None
    reasons: list[str] = []

    def warn(text: str) -> None:
        reasons.append(text)
        context.log(text)

    with ExitStack() as held:
        with _commands(machines, order, warn):
            snapshot = held.enter_context(
                machines.snapshot(order.uuid, context.attempt, checkpoint)
            )
        taken = context.server.now_ms()
        views = [v for v in snapshot.views() if v.disk.name not in order.excluded]
        missing = _missing(snapshot.machine, order.excluded)
        if missing and not views:
            raise Unsupported(f"{snapshot.machine.name} has no disk to back up: {missing[0]}")
        for reason in missing:
            warn(reason)
        for reason in _reasons(views) if base else []:
            warn(reason)
        context.progress.expect(_expected(views))
        draft = export_machine(
            snapshot,
            repository,
            ExportSpec(
                order.backup,
                order.entity,
                taken,
                frozenset(order.excluded),
                base=base.backup if base else None,
            ),
            ExportServices(
                context.staging.folder,
                context.pool,
                context.disk,
                context.progress.meter,
                warn,
                context.repositories.pack_memory(repository),
            ),
        )
        mark = snapshot.checkpoint
    manifest = draft.manifest
    if order.wanted == BackupType.INCREMENTAL.value and manifest.type != order.wanted:
        if base is None:
            warn(f"{order.destination.name} has no backup that an increment can build on")
        context.server.type_changed(manifest.type)
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


WORK = TaskWork("EXPORT", ExportOrder, run, stages=True)
