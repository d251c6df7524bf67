"""MOUNT: a node shares a backup, its files and disks, straight from the repository."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from haulback.contract import example_values as example
from haulback.contract.mount import Again, MountOrder, MountRequest, MountResult, Visible
from haulback.contract.mounts import MountMode
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import RESTORERS
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import volume_guid
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup, Mount
from haulback.kinds.api import Ask, Submission, TaskKind
from haulback.kinds.support import conflicts, iscsi_mount, planning
from haulback.kinds.support.backup_choice import chosen, references
from haulback.kinds.support.new_mount import new_mount
from haulback.kinds.support.reports import Said
from haulback.kinds.support.restore_jobs import job_begun, job_ended, job_goes_on, new_job
from haulback.tasks.record import NewMount, Plan, Task
from haulback.wire import Named, Ref

_HERE = (MountMode.AUTO, MountMode.MANUAL, MountMode.ISCSI)


def plan(request: MountRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """A RESTORE that only points at what is stored, and the MOUNT.  Raises Malformed, NotFound."""
    if request.mode not in _HERE:
        also = " (POST /tasks/instant-restore does this)"
        instant = request.mode is MountMode.INSTANT_RESTORE
        raise Malformed(
            f"mode: {request.mode.value} is not for machines{also if instant else ''}", field="mode"
        )
    backup = chosen(request.backup, request.backupLocation, catalogue)
    wanted = _wanted(request, backup)
    mount = new_mount(request, backup, wanted, catalogue, ask)
    same = {"mode": mount.mode, "wanted": wanted, "on": mount.node}
    conflicts.backup_free(Named(backup.guid, backup.entity_name), same, catalogue)
    return tasks_of(mount, backup, request, catalogue, ask)


def tasks_of(mount: NewMount, backup: Backup, request: Any, catalogue: Catalogue, ask: Ask) -> Plan:
    """The tasks that make a share."""
    job = new_job("RESTORE_AND_MOUNT", backup, ask, {"mode": mount.mode, "mount": mount.guid})
    refs = {
        **references(backup, catalogue),
        "restoreJob": Named(job.guid),
        "mountedBackup": Named(mount.guid, backup.entity_name),
    }
    params: dict[str, Any] = {"restoreType": "RESTORE_AND_MOUNT", "mode": mount.mode}
    params |= {"pointer": True, "wanted": mount.wanted, "on": mount.node}
    ask = ask.of(mount.project)
    common: dict[str, Any] = {"refs": refs, "params": params, "pinned": mount.node}
    first = planning.task("RESTORE", "restore", ask, request, **common)
    second = planning.task("MOUNT", "restore", ask, request, **common, follows=first)
    return Plan([first, second], restores=[job], mounts=[mount])


def _wanted(request: MountRequest, backup: Backup) -> dict[str, Any]:
    """What is to be seen where.  Raises Malformed for what goes with another mode."""
    files = [one.backupFile.guid for one in request.mountedDisks or []]
    if request.mode is MountMode.ISCSI:
        if request.mountedFileSystems:
            raise Malformed("mountedFileSystems: not with ISCSI", field="mountedFileSystems")
        return iscsi_mount.wanted(files, request.allowedClients or [], backup)
    if request.allowedClients:
        raise Malformed("allowedClients: goes with mode ISCSI", field="allowedClients")
    if files and request.mode is MountMode.AUTO:
        raise Malformed("mountedDisks: goes with modes MANUAL and ISCSI", field="mountedDisks")
    shown = _visible(request, backup)
    if files:
        shown.append(Visible("", disks=iscsi_mount.disks_of(files, backup)))
    return {"visible": msgspec.to_builtins(shown)}


def _visible(request: MountRequest, backup: Backup) -> list[Visible]:
    field, known = "mountedFileSystems", _volumes(backup)
    wanted = request.mountedFileSystems or []
    if request.mode is MountMode.MANUAL and not (wanted or request.mountedDisks):
        raise Malformed(f"{field}: name at least one, or one of mountedDisks", field=field)
    if request.mode is MountMode.AUTO and (len(wanted) > 1 or any(w.fileSystem for w in wanted)):
        raise Malformed(f"{field}: AUTO finds them by itself; at most a mountPath", field=field)
    found = []
    for i, one in enumerate(wanted):
        volume = ""
        if request.mode is MountMode.MANUAL:
            guid = one.fileSystem.guid if one.fileSystem else ""
            if guid not in known:
                path = f"{field}[{i}].fileSystem"
                raise Malformed(f"{path}: the backup has no file system {guid or ''}", field=path)
            volume = known[guid]
        path = _path(one.mountPath, f"{field}[{i}].mountPath")
        if path or volume:
            found.append(Visible(path, volume))
    return found


def _volumes(backup: Backup) -> dict[str, str]:
    return {volume_guid(backup.guid, one["name"]): one["name"] for one in backup.volumes}


def _path(path: str | None, field: str) -> str:
    if not path:
        return ""
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or len(path) > 1000 or not path.isprintable():
        raise Malformed(f"{field}: name a folder by its absolute path", field=field)
    return path


def plan_again(request: Again, catalogue: Catalogue, ask: Ask) -> Plan:
    """One MOUNT.  Raises NotFound, or Conflict for what is mounted or can be no more."""
    mount = catalogue.mounts.get(request.mountedBackup.guid)
    conflicts.share_free(Named(mount.guid, mount.entity_name), catalogue)
    if mount.state in ("QUEUED", "MOUNTED"):
        raise Conflict(f"the backup of {mount.entity_name} is {mount.state} already")
    if mount.mode == MountMode.INSTANT_RESTORE.value:
        raise Conflict("an instant restore is not mounted again; POST /tasks/instant-restore")
    backup = chosen(Ref(mount.backup), None, catalogue)
    refs = {
        **references(backup, catalogue),
        "mountedBackup": Named(mount.guid, mount.entity_name),
    }
    ask = ask.of(mount.project)
    params = {"mode": mount.mode, "again": True}
    made = planning.task(
        "MOUNT", "restore", ask, request, refs=refs, params=params, pinned=mount.node
    )
    return Plan([made])


def prepare(task: Task, catalogue: Catalogue) -> MountOrder:
    return order_of(catalogue.mounts.get(task.ref("mountedBackup") or ""), catalogue)


def order_of(mount: Mount, catalogue: Catalogue) -> MountOrder:
    """What a node does to share it, now or again."""
    backup = chosen(Ref(mount.backup), None, catalogue)
    visible = msgspec.convert(mount.wanted.get("visible", []), list[Visible])
    return MountOrder(
        mount=mount.guid,
        backup=backup.guid,
        destination=catalogue.places.destination(backup.destination),
        target=iscsi_mount.target_of(mount),
        visible=[msgspec.structs.replace(v, path=v.path or _usual_path(mount, v)) for v in visible],
        hypervisor=catalogue.places.hypervisor(mount.hypervisor) if mount.hypervisor else None,
    )


def _usual_path(mount: Mount, shown: Visible) -> str:
    name = "".join(c if c.isalnum() or c in "._- " else "_" for c in mount.entity_name).strip(". ")
    moment = time.gmtime((mount.snapshot_time or mount.created) / 1000)
    place = f"/mnt/haulback/{name or 'machine'}/{time.strftime('%Y%m%d_%H%M%S', moment)}"
    return f"{place}/{'disks' if shown.disks else shown.volume.replace('/', '-')}"


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """What is not shared in the end is not mounted; the node ends a share that nobody wants."""
    if task.params["mode"] == MountMode.INSTANT_RESTORE.value and state is State.FINISHED:
        job_goes_on(task, ledger)
    else:
        job_ended(task, state, ledger)
    mount = task.ref("mountedBackup") or ""
    if state is not State.FINISHED:
        ledger.mounts.moved(mount, "UNMOUNTED" if task.params.get("again") else "FAILED")
        return
    found = msgspec.convert(task.results, MountResult)
    kept = {"disks": found.disks, "raw": found.raw, "portal": found.portal}
    ledger.mounts.mounted(mount, kept, found.volumes)


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
        Said("disks", "object", "Size (bytes) of each disk that is shared, by its name."),
        Said("raw", "text", "The folder in which the disks are files."),
        Said("portal", "text", "ADDRESS:PORT of an iSCSI target."),
        Said("volumes", "array", "Each file system: name, type, size, path where it is seen."),
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
            Again,
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
