"""EXPORT on the node: read the changes of a machine into staging."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import NamedTuple

from haulback import units
from haulback.contract.backups import BackupType
from haulback.contract.export import ExportOrder
from haulback.drivers.capabilities import GuestOperations, capability
from haulback.drivers.hypervisor import DiskView, Machine, MachineSource, Snapshot
from haulback.errors import Unsupported
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Draft
from haulback.transfer.export import ExportServices, ExportSpec, export_machine
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.phases import phase
from haulback.work.support.recent_backup import let_be_listed

_NAMED = 32  # disks that the log lists


def run(context: TaskContext) -> Results:
    order: ExportOrder = context.order
    with context.machines.lock(order.hypervisor, order.uuid):
        return _Export(context).run()


class _Export:
    """The export of one machine; `warnings` are sentences for the readers of the backup."""

    def __init__(self, context: TaskContext) -> None:
        self._context, self._order = context, context.order
        self._machines = context.machines.open(self._order.hypervisor)
        self._repository = context.repositories.open_for_backup(self._order.destination)
        self.warnings: list[str] = []

    def run(self) -> Results:
        """Read the machine and report the draft.  Raises Unsupported without a disk to read."""
        order, base = self._order, self._order.base
        self._tell_base()
        if base:
            let_be_listed(self._context, self._repository, base.backup)
        # Dead attempts may have left checkpoints, which must not accumulate in the image.
        dropped = self._machines.drop_checkpoints(order.uuid, self._context.server.needed())
        if dropped:
            self._context.log(f"checkpoints that no backup needs were removed: {len(dropped)}")
        with ExitStack() as stack:
            with (
                phase(self._context, f"the snapshot of {order.machine} was taken") as taking,
                _commands(self._machines, order, self._warn),
            ):
                snapshot = stack.enter_context(
                    self._machines.snapshot(
                        order.uuid, self._context.attempt, base.checkpoint if base else None
                    )
                )
                taking.result = f"consistency {snapshot.consistency}"
            taken = self._context.server.now_ms()
            self._check(snapshot)
            with phase(self._context, "the disks were read") as reading:
                manifest = self._read(snapshot, taken).manifest
                reading.moved, reading.result = manifest.read, _reuse(manifest)
            checkpoint = snapshot.checkpoint
        self._report_type(manifest)
        self._tell_end(manifest, checkpoint)
        results = _results(manifest) | {"snapshotTime": taken, "checkpoint": checkpoint}
        return results | {"warnings": self.warnings, "consistency": snapshot.consistency}

    def _tell_base(self) -> None:
        """Log the reason for a full backup, or the base of the increment."""
        order, tell = self._order, self._context.log
        if order.base:
            checkpoint = order.base.checkpoint or "none: the driver compares the images"
            tell(f"the increment builds on backup {order.base.backup} (checkpoint {checkpoint})")
        elif order.wanted == BackupType.INCREMENTAL.value:
            tell(
                f"a full backup is made instead of an increment: {order.destination.name} has no "
                f"backup of {order.machine} that an increment can build on{self._why()}"
            )
        else:
            tell("a full backup was requested")

    def _tell_end(self, manifest: Manifest, checkpoint: str | None) -> None:
        tell = self._context.log
        tell(f"the export has the type {manifest.type} and waits in staging for its STORE")
        if checkpoint:
            tell(f"the next increment can build on checkpoint {checkpoint}")
        else:
            tell("the hypervisor tracks no changes: the next increment reads whole disks")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._context.log(f"warning: {text}")

    def _check(self, snapshot: Snapshot) -> None:
        """Warn of the parts that the backup lacks, and set the bytes to be read."""
        excluded = self._order.excluded
        views = [view for view in snapshot.views() if view.disk.name not in excluded]
        missing = _missing(snapshot.machine, excluded)
        if missing and not views:
            raise Unsupported(f"{snapshot.machine.name} has no disk to back up: {missing[0]}")
        for reason in [*missing, *(_read_whole(views) if self._order.base else [])]:
            self._warn(reason)
        plans = [plan_of(view) for view in views]
        for view, plan in list(zip(views, plans, strict=True))[:_NAMED]:
            self._context.log(f"disk {view.disk.name}: {units.size(view.source.size)}, {plan.text}")
        if len(views) > _NAMED:
            self._context.log(f"and {units.counted(len(views) - _NAMED, 'more disk')}")
        self._context.progress.expect(sum(plan.bytes for plan in plans))

    def _read(self, snapshot: Snapshot, taken: int) -> Draft:
        context, order, repository = self._context, self._order, self._repository
        spec = ExportSpec(
            order.backup,
            order.entity,
            taken,
            frozenset(order.excluded),
            order.base.backup if order.base else None,
        )
        services = ExportServices(
            context.staging.folder,
            context.pool,
            context.disk,
            context.progress.meter,
            self._warn,
            context.repositories.pack_memory(repository),
        )
        return export_machine(snapshot, repository, spec, services)

    def _report_type(self, manifest: Manifest) -> None:
        """Report immediately that an increment became a full backup."""
        order = self._order
        if order.wanted != BackupType.INCREMENTAL.value or manifest.type == order.wanted:
            return
        if order.base is None:
            name = order.destination.name
            self._warn(f"{name} has no backup that an increment can build on{self._why()}")
        self._context.server.type_changed(manifest.type)

    def _why(self) -> str:
        return f": {self._order.no_base}" if self._order.no_base else ""


class DiskPlan(NamedTuple):
    """The number of bytes of a disk to read, before changes are widened to whole chunks, and a
    text.
    """

    bytes: int
    text: str


def plan_of(view: DiskView) -> DiskPlan:
    """The plan of a disk, in memory that does not grow with the number of its extents."""
    if view.changed is None:
        used = sum(extent.length for extent in view.source.extents())
        return DiskPlan(used, f"{units.size(used)} in use will be read")
    changed = places = 0
    for extent in view.changed:  # a large disk has millions of extents
        changed, places = changed + extent.length, places + 1
    extents = units.counted(places, "extent")
    return DiskPlan(changed, f"{units.size(changed)} changed in {extents} will be read")


def _reuse(manifest: Manifest) -> str:
    """A part of a sentence about the newly stored bytes."""
    text = f"{units.size(manifest.stored)} of new data stored"
    if manifest.stored < manifest.read:
        text += ", the rest was deduplicated or compressed"
    return text


def _results(manifest: Manifest) -> Results:
    files = [{"name": d.name, "size": d.map.size, "format": d.format} for d in manifest.disks]
    return {
        "type": manifest.type,
        "size": sum(stored.map.size for stored in manifest.disks),
        "read": manifest.read,
        "stored": manifest.stored,
        "parent": manifest.parent,
        "files": files,
        "definition": manifest.definition,
    }


def _commands(
    machines: MachineSource, order: ExportOrder, warn: Callable[[str], None]
) -> AbstractContextManager[None]:
    """A context that runs the commands of the machine's settings in the guest.

    Raises Unsupported for commands on a hypervisor that cannot run them.
    """
    if not order.before + order.after:
        return nullcontext()
    guests = capability(machines, GuestOperations)
    return guests.around(order.uuid, order.before, order.after, warn)


def _missing(machine: Machine, excluded: Collection[str]) -> list[str]:
    """A sentence for each part of a machine that its backup lacks or holds inconsistently."""
    apart = [
        f"{part.name} is in the backup, but {part.why}"
        if part.held
        else f"{part.name} is not in the backup: {part.why}"
        for part in machine.apart
        if not part.off
    ]
    left = [disk.name for disk in machine.disks if disk.name in excluded]
    return [
        *apart,
        *(f"{name} is not in the backup: the machine's settings exclude it" for name in left),
    ]


def _read_whole(views: list[DiskView]) -> list[str]:
    return [f"{v.disk.name} is read whole: {v.reason}" for v in views if v.changed is None]


WORK = TaskWork("EXPORT", ExportOrder, run, stages=True)
