"""UNMOUNT: a node stops sharing a backup; what is no machine's can be mounted again."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.drivers.capabilities import InstantRestore, MachineTarget, capability
from haulback.drivers.hypervisor import MachineSource
from haulback.errors import Conflict, SourceChanged
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Catalogue, Hypervisor, Mount
from haulback.kinds.api import Ask, Results, Submission, TaskContext, TaskKind
from haulback.kinds.import_machine import MARK
from haulback.kinds.support import conflicts, planning
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.tasks.states import State
from haulback.wire import Named, Ref


class UnmountRequest(msgspec.Struct, kw_only=True):
    """UnmountTaskRequest."""

    mountedBackup: Ref
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class UnmountOrder(msgspec.Struct):
    """Which share ends, and where a machine may run from it."""

    mount: str
    hypervisor: Hypervisor | None = None


def plan(request: UnmountRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task.  Raises NotFound, or Conflict for what is not mounted."""
    mount = catalogue.mount(request.mountedBackup.guid)
    if mount.state != "MOUNTED":
        raise Conflict(f"the backup of {mount.entity_name} is {mount.state}, not mounted")
    conflicts.share_free(Named(mount.guid, mount.entity_name), catalogue)
    return Plan([task(mount, catalogue, ask, request)])


def task(
    mount: Mount,
    catalogue: Catalogue,
    ask: Ask,
    request: Any = None,
    *,
    follows: Task | None = None,
) -> Task:
    """The task that ends a share."""
    backup = catalogue.backup(mount.backup)
    refs = {
        "backup": Named(backup.guid, backup.entity_name),
        "protectedEntity": catalogue.entity(mount.entity).named(),
        "mountedBackup": Named(mount.guid, mount.entity_name),
    }
    return planning.task(
        "UNMOUNT",
        "restore",
        ask.of(mount.project),
        request,
        refs=refs,
        params={"mode": mount.mode},
        pinned=mount.node,
        follows=follows,
    )


def prepare(task: Task, catalogue: Catalogue) -> UnmountOrder:
    mount = catalogue.mount(task.ref("mountedBackup") or "")
    where = mount.hypervisor
    return UnmountOrder(mount.guid, catalogue.hypervisor(where) if where else None)


def run(job: TaskContext) -> Results:
    order: UnmountOrder = job.order
    job.confirm()
    if order.hypervisor:
        _end_machines(job, job.hypervisor(order.hypervisor), order)
    job.unshare(order.mount)
    return {"unmounted": True}


def _end_machines(job: TaskContext, machines: MachineSource, order: UnmountOrder) -> None:
    """One that an instant restore made goes with its share.

    Raises SourceChanged while it runs, Conflict for one that somebody else put on the share.
    """
    if not isinstance(machines, InstantRestore):
        return  # the hypervisor is reached by SSH now: no machine there runs from a mount here
    found = machines.on_share(job.share_socket(order.mount))
    if foreign := [one.name for one in found if MARK not in one.definition]:
        raise Conflict(f"{', '.join(foreign)}: lives off this backup too, but was not made here")
    target = capability(machines, MachineTarget)
    for machine in found:
        try:
            target.remove(machine.uuid)
        except SourceChanged as error:
            remedy = "or move it off its backup (POST /tasks/live-migration)"
            raise SourceChanged(f"{error.message}; {remedy}") from None
        job.log(f"{machine.name} lived off this backup, and was removed with what it had written")


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """What cannot be unmounted at its time is tried again, but not all the time."""
    mount = task.ref("mountedBackup") or ""
    if state is State.FINISHED:
        ledger.mount_moved(mount, "UNMOUNTED")
    else:
        ledger.mount_until(mount, ledger.now + HOUR_MS, if_due=True)


KIND = TaskKind(
    type="UNMOUNT",
    lane="restore",
    order=UnmountOrder,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(
        Submission("unmount", UnmountRequest, plan, many=False, summary="Create unmount task."),
    ),
)
