"""UNMOUNT: a node ends a mounted backup; an instant restore cannot be mounted again."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import RESTORERS
from haulback.contract.task_states import State
from haulback.contract.unmount import UnmountOrder, UnmountRequest
from haulback.errors import Conflict
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import conflicts
from haulback.kinds.support.reports import ReportMember
from haulback.kinds.support.unmount_task import task
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.wire import Named


def plan(request: UnmountRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan the task.  Raises NotFound, or Conflict for a mount that is not mounted."""
    mount = catalogue.mounts.get(request.mountedBackup.guid)
    if mount.state != "MOUNTED":
        raise Conflict(
            f"the backup of {mount.entity_name} is {mount.state}, not mounted; `haulback mount ls` "
            "lists the mounted ones"
        )
    conflicts.share_free(Named(mount.guid, mount.entity_name), catalogue)
    return Plan([task(mount, catalogue, context, request)])


def prepare(task: Task, catalogue: Catalogue) -> UnmountOrder:
    mount = catalogue.mounts.get(task.ref("mountedBackup") or "")
    where = mount.hypervisor
    return UnmountOrder(mount.guid, catalogue.places.hypervisor(where) if where else None)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the end of the mount; a failed unmount is due again after an hour."""
    mount = task.ref("mountedBackup") or ""
    if state is State.FINISHED:
        ledger.mounts.moved(mount, "UNMOUNTED")
    else:
        ledger.mounts.until(mount, ledger.now + HOUR_MS, if_due=True)


Request = UnmountRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="UNMOUNT",
    lane="restore",
    order=UnmountOrder,
    prepare=prepare,
    settle=settle,
    report=(
        ReportMember("unmounted", "flag", "Always true: a finished task has ended the mount."),
    ),
    submissions=(
        Submission(
            "unmount",
            UnmountRequest,
            plan,
            many=False,
            summary="Create unmount task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[{"mountedBackup": {"guid": example.GUID, "name": ""}}],
            command="mount unmount MOUNT",
        ),
    ),
)
