"""EXPORT on the node: read the changes of a machine into staging."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from haulback.contract.backups import BackupType
from haulback.contract.export import ExportOrder
from haulback.drivers.capabilities import GuestOperations, capability
from haulback.drivers.hypervisor import DiskView, Machine, MachineSource, Snapshot
from haulback.errors import Unsupported
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Draft
from haulback.transfer.export import ExportServices, ExportSpec, export_machine
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.young_backup import let_be_listed


def run(context: TaskContext) -> Results:
    order: ExportOrder = context.order
    with context.machines.lock(order.hypervisor, order.uuid):
        return _Export(context).run()


class _Export:
    """The export of one machine; `warnings` are sentences for the readers of the backup."""

    def __init__(self, context: TaskContext) -> None:
        self._context, self._order = context, context.order
        self._machines = context.machines.open(self._order.hypervisor)
        self._repository = context.repositories.open(self._order.destination)
        self.warnings: list[str] = []

    def run(self) -> Results:
        """Read the machine and report the draft.  Raises Unsupported without a disk to read."""
        order, base = self._order, self._order.base
        if base:
            let_be_listed(self._context, self._repository, base.backup)
        # Dead attempts may have left checkpoints; the image must not collect them.
        self._machines.drop_checkpoints(order.uuid, self._context.server.needed())
        with ExitStack() as stack:
            with _commands(self._machines, order, self._warn):
                snapshot = stack.enter_context(
                    self._machines.snapshot(
                        order.uuid, self._context.attempt, base.checkpoint if base else None
                    )
                )
            taken = self._context.server.now_ms()
            self._check(snapshot)
            manifest = self._read(snapshot, taken).manifest
            checkpoint = snapshot.checkpoint
        self._report_type(manifest)
        results = _results(manifest) | {"snapshotTime": taken, "checkpoint": checkpoint}
        return results | {"warnings": self.warnings, "consistency": snapshot.consistency}

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._context.log(text)

    def _check(self, snapshot: Snapshot) -> None:
        """Warn of the parts that the backup lacks, and set the bytes to be read."""
        excluded = self._order.excluded
        views = [view for view in snapshot.views() if view.disk.name not in excluded]
        missing = _missing(snapshot.machine, excluded)
        if missing and not views:
            raise Unsupported(f"{snapshot.machine.name} has no disk to back up: {missing[0]}")
        for reason in [*missing, *(_read_whole(views) if self._order.base else [])]:
            self._warn(reason)
        self._context.progress.expect(_expected(views))

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
        """Report at once that an increment became a full backup."""
        order = self._order
        if order.wanted != BackupType.INCREMENTAL.value or manifest.type == order.wanted:
            return
        if order.base is None:
            why = f": {order.no_base}" if order.no_base else ""
            name = order.destination.name
            self._warn(f"{name} has no backup that an increment can build on{why}")
        self._context.server.type_changed(manifest.type)


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
    """Block that runs the commands of the machine's settings in the guest.

    Raises Unsupported for commands on a hypervisor that cannot run them.
    """
    if not order.before + order.after:
        return nullcontext()
    guests = capability(machines, GuestOperations)
    return guests.around(order.uuid, order.before, order.after, warn)


def _missing(machine: Machine, excluded: Collection[str]) -> list[str]:
    """A sentence about each part of a machine that its backup lacks or holds inconsistently."""
    apart = [
        f"{part.name} is in the backup, but {part.why}"
        if part.held
        else f"{part.name} is not in the backup: {part.why}"
        for part in machine.apart
    ]
    left = [disk.name for disk in machine.disks if disk.name in excluded]
    return [
        *apart,
        *(f"{name} is not in the backup: the machine's settings exclude it" for name in left),
    ]


def _read_whole(views: list[DiskView]) -> list[str]:
    return [f"{v.disk.name} is read whole: {v.reason}" for v in views if v.changed is None]


def _expected(views: list[DiskView]) -> int:
    """Bytes to read, before changes are widened to whole chunks."""
    extents: Any = (v.source.extents() if v.changed is None else v.changed for v in views)
    return sum(extent.length for one in extents for extent in one)


WORK = TaskWork("EXPORT", ExportOrder, run, stages=True)
