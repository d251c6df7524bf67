"""UNMOUNT: a node stops sharing a backup; it can be mounted again."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.errors import Conflict
from haulback.inventory.records import Catalogue, Ledger, Mount
from haulback.kinds import planning
from haulback.kinds.seam import Ask, Job, Kind, Results, Submission
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.wire import Named, Ref


class Request(msgspec.Struct, kw_only=True):
    """UnmountTaskRequest."""

    mountedBackup: Ref
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class Order(msgspec.Struct):
    """Which share ends."""

    mount: str


def plan(request: Request, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task.  Raises NotFound, or Conflict for what is not mounted."""
    mount = catalogue.mount(request.mountedBackup.guid)
    if mount.state != "MOUNTED":
        raise Conflict(f"the backup of {mount.entity_name} is {mount.state}, not mounted")
    return Plan([task(mount, catalogue, ask, request)])


def task(mount: Mount, catalogue: Catalogue, ask: Ask, request: Any = None) -> Task:
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
        msgspec.structs.replace(ask, project=mount.project),
        request,
        refs=refs,
        params={"mode": mount.mode},
        pinned=mount.node,
    )


def prepare(task: Task, catalogue: Catalogue) -> Order:
    return Order(task.ref("mountedBackup") or "")


def run(job: Job) -> Results:
    job.confirm()
    job.unshare(job.order.mount)
    return {"unmounted": True}


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FINISHED:
        ledger.mount_moved(task.ref("mountedBackup") or "", "UNMOUNTED")


KIND = Kind(
    type="UNMOUNT",
    lane="restore",
    order=Order,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(Submission("unmount", Request, plan, many=False, summary="Create unmount task."),),
)
