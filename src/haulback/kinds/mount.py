"""MOUNT: a node mounts the files and disks of a backup directly from the repository."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.mount import MountOrder, MountRequest, MountResult, RemountRequest
from haulback.contract.mounts import MountMode
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import RESTORERS
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup, Mount
from haulback.kinds.api import AnyRequest, Context, Submission, TaskKind
from haulback.kinds.support import conflicts, iscsi_mount, mount_options, planning
from haulback.kinds.support.backup_choice import (
    anywhere,
    chosen,
    other_places,
    reached_by,
    references,
)
from haulback.kinds.support.new_mount import new_mount
from haulback.kinds.support.reports import ReportMember
from haulback.kinds.support.restore_jobs import job_begun, job_ended, job_goes_on, new_job
from haulback.tasks.record import NewMount, Plan, Task
from haulback.wire import JsonObject, Named, Ref

_HERE = (MountMode.AUTO, MountMode.MANUAL, MountMode.ISCSI)


def plan(request: MountRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a RESTORE that checks the backup, and the MOUNT.  Raises Malformed, NotFound."""
    if request.mode not in _HERE:
        also = " (POST /tasks/instant-restore does this)"
        instant = request.mode is MountMode.INSTANT_RESTORE
        raise Malformed(
            f"mode: {request.mode.value} is not for machines{also if instant else ''}", field="mode"
        )
    near = reached_by(request.node.guid) if request.node else anywhere
    backup = chosen(request.backup, request.backupLocation, catalogue, near)
    wanted = mount_options.wanted(request, backup)
    mount = new_mount(request, backup, wanted, catalogue, context)
    same = {"mode": mount.mode, "wanted": wanted, "on": mount.node}
    conflicts.backup_free(Named(backup.guid, backup.entity_name), same, catalogue)
    return tasks_of(mount, backup, request, catalogue, context)


def tasks_of(
    mount: NewMount,
    backup: Backup,
    request: AnyRequest,
    catalogue: Catalogue,
    context: Context,
) -> Plan:
    """The tasks that mount a backup."""
    job = new_job("RESTORE_AND_MOUNT", backup, context, {"mode": mount.mode, "mount": mount.guid})
    refs = {
        **references(backup, catalogue),
        "restoreJob": Named(job.guid),
        "mountedBackup": Named(mount.guid, backup.entity_name),
    }
    params: JsonObject = {"restoreType": "RESTORE_AND_MOUNT", "mode": mount.mode}
    params |= {"pointer": True, "wanted": mount.wanted, "on": mount.node}
    context = context.of(mount.project)
    common: JsonObject = {"refs": refs, "params": params, "pinned": mount.node}
    first = planning.task("RESTORE", "restore", context, request, planning.TaskSpec(**common))
    second = planning.task(
        "MOUNT", "restore", context, request, planning.TaskSpec(**common, follows=first)
    )
    return Plan([first, second], restores=[job], mounts=[mount])


def plan_again(request: RemountRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a MOUNT of an ended mount.  Raises NotFound, or Conflict."""
    mount = catalogue.mounts.get(request.mountedBackup.guid)
    conflicts.share_free(Named(mount.guid, mount.entity_name), catalogue)
    if mount.state in ("QUEUED", "MOUNTED"):
        raise Conflict(f"the backup of {mount.entity_name} is {mount.state} already")
    if mount.mode == MountMode.INSTANT_RESTORE.value:
        raise Conflict("an instant restore is not mounted again; POST /tasks/instant-restore")
    backup = chosen(Ref(mount.backup), None, catalogue, reached_by(mount.node))
    refs = {
        **references(backup, catalogue),
        "mountedBackup": Named(mount.guid, mount.entity_name),
    }
    context = context.of(mount.project)
    params = {"mode": mount.mode, "again": True}
    made = planning.task(
        "MOUNT",
        "restore",
        context,
        request,
        planning.TaskSpec(refs=refs, params=params, pinned=mount.node),
    )
    return Plan([made])


def prepare(task: Task, catalogue: Catalogue) -> MountOrder:
    return order_of(catalogue.mounts.get(task.ref("mountedBackup") or ""), catalogue)


def order_of(mount: Mount, catalogue: Catalogue) -> MountOrder:
    """The order for a node that mounts the backup, for the first time or again."""
    backup = chosen(Ref(mount.backup), None, catalogue, reached_by(mount.node))
    return MountOrder(
        mount=mount.guid,
        backup=backup.guid,
        destination=catalogue.places.destination(backup.destination),
        target=iscsi_mount.target_of(mount),
        visible=mount_options.folders(mount),
        hypervisor=catalogue.places.hypervisor(mount.hypervisor) if mount.hypervisor else None,
        others=other_places(backup, mount.node, catalogue),
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the mount or its failure; the node ends a mount that the server no longer lists."""
    if task.params["mode"] == MountMode.INSTANT_RESTORE.value and state is State.FINISHED:
        job_goes_on(task, ledger)
    else:
        job_ended(task, state, ledger)
    mount = task.ref("mountedBackup") or ""
    if state is not State.FINISHED:
        ledger.mounts.moved(mount, "UNMOUNTED" if task.params.get("again") else "FAILED")
        return
    report = msgspec.convert(task.results, MountResult)
    kept = {"disks": report.disks, "raw": report.raw, "portal": report.portal}
    ledger.mounts.mounted(mount, kept, report.volumes)


Request = MountRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="MOUNT",
    lane="restore",
    order=MountOrder,
    prepare=prepare,
    start=job_begun,
    settle=settle,
    members=frozenset({"taskFiles"}),
    report=(
        ReportMember(
            "disks", "object", "Size (bytes) of each disk that the mount offers, by its name."
        ),
        ReportMember("raw", "text", "The folder in which the disks are files."),
        ReportMember("portal", "text", "ADDRESS:PORT of an iSCSI target."),
        ReportMember("volumes", "array", "Each file system: name, type, size, path of its folder."),
    ),
    submissions=(
        Submission(
            "restore-and-mount",
            MountRequest,
            plan,
            many=False,
            summary="Create restore and mount task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[
                {
                    "mode": {"name": "AUTO"},
                    "backupLocation": example.LOCATION,
                    "mountedFileSystems": [{"mountPath": "/mnt/web"}],
                    "allowedClients": [],
                    "unmountTime": 86400000,
                }
            ],
            command="restore mount BACKUP",
        ),
        Submission(
            "mount",
            RemountRequest,
            plan_again,
            many=False,
            summary="Create mount task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[{"mountedBackup": example.REF}],
            command="mount again UNMOUNTED",
        ),
    ),
)
