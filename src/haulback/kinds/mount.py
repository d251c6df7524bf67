"""MOUNT: a node shares a backup, its files and disks, straight from the repository."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from haulback.contract.mounts import MountMode
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed
from haulback.filesystems.records import Volume as Found
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import volume_guid
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup, BackupDestination, BackupVolume, Hypervisor, Mount
from haulback.kinds.api import Ask, Name, Results, Sharing, Submission, TaskContext, TaskKind
from haulback.kinds.restore import (
    LocationRef,
    chosen,
    job_begun,
    job_ended,
    job_goes_on,
    new_job,
    references,
)
from haulback.kinds.support import conflicts, iscsi_mount, planning
from haulback.kinds.support.restore_items import as_volume
from haulback.mounts.spec import IscsiOrder, Visible
from haulback.tasks.record import NewMount, Plan, Task
from haulback.wire import Named, Ref

_USUAL_MS = 86_400_000
_MOMENT_MS = 1_000_000_000_000  # what is later is no duration but a time, as old clients send it
_LONGEST_MS = 366 * _USUAL_MS
_HERE = (MountMode.AUTO, MountMode.MANUAL, MountMode.ISCSI)


class MountedFileSystemChoice(msgspec.Struct):
    """MountedFileSystemRequest."""

    fileSystem: Ref | None = None
    mountPath: str | None = None


class MountedDisk(msgspec.Struct):
    """A disk to share."""

    backupFile: Ref


class MountRequest(msgspec.Struct, kw_only=True):
    """RestoreAndMountTaskRequest; `unmountTime` in ms, 0 for good."""

    mode: MountMode
    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    mountedFileSystems: list[MountedFileSystemChoice] | None = None
    mountedDisks: list[MountedDisk] | None = None
    allowedClients: list[str] | None = None
    unmountTime: int | None = None
    node: Ref | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class Again(msgspec.Struct, kw_only=True):
    """MountTaskRequest."""

    mountedBackup: Ref
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class MountOrder(msgspec.Struct, kw_only=True):
    """What to share, and where it is to be seen, or where a machine runs from it."""

    mount: str
    backup: str
    destination: BackupDestination
    visible: list[Visible] = []
    target: IscsiOrder | None = None
    hypervisor: Hypervisor | None = None


class MountResult(msgspec.Struct):
    """What the node reports: file systems and disks, sizes in bytes; see `shares.order.Shared`."""

    disks: dict[Name, int] = {}
    raw: str = ""
    portal: str = ""
    volumes: list[BackupVolume] = []


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


def new_mount(
    request: Any, backup: Backup, wanted: dict[str, Any], catalogue: Catalogue, ask: Ask
) -> NewMount:
    """The record of a share, on the node that is named or can be only one."""
    return NewMount(
        backup=backup.guid,
        entity=backup.entity,
        entity_name=backup.entity_name,
        node=_node(request.node, backup, catalogue),
        mode=request.mode.value,
        keep=_keep(request.unmountTime, ask.now),
        wanted=wanted,
        snapshot_time=backup.snapshot_time,
        size=backup.size,
        project=backup.project or ask.project,
    )


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


def _keep(wanted: int | None, now: int) -> int:
    keep = _USUAL_MS if wanted is None else wanted
    keep = keep - now if keep >= _MOMENT_MS else keep
    if not 0 <= keep <= _LONGEST_MS:
        raise Malformed(
            "unmountTime: a duration in ms, 0 (for good) to a year", field="unmountTime"
        )
    return keep


def _node(wanted: Ref | None, backup: Backup, catalogue: Catalogue) -> str:
    """The node that shares it: the one that reaches the backup, or the one that is named."""
    to = catalogue.places.destination(backup.destination)
    if wanted is None:
        return to.node or catalogue.places.only_node("node")
    node = catalogue.places.node(wanted.guid)
    if to.node not in (None, node.guid):
        raise Malformed(f"node: {node.name} does not reach {to.name}", field="node")
    return node.guid


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


def run(job: TaskContext) -> Results:
    order: MountOrder = job.order
    shared = job.share(sharing_of(order))
    try:
        # Whoever waits for a machine to run does not wait for its files to be looked at.
        volumes = [] if order.hypervisor else job.volumes(order.mount)
        for one in volumes:
            job.log(f"{one.name}: {one.type}{': ' + one.reason if one.reason else ''}")
        job.confirm()
    except BaseException:
        job.unshare(order.mount)
        raise
    shown = [as_volume(one, _path_of(one, shared.paths)) for one in volumes]
    found = MountResult(shared.disks, "" if order.target else shared.raw, shared.portal, shown)
    return dict(msgspec.to_builtins(found))


def sharing_of(order: MountOrder) -> Sharing:
    """The same as the node's own shares know it."""
    for_machine = order.hypervisor is not None
    return Sharing(
        order.mount, order.backup, order.destination, order.visible, order.target, for_machine
    )


def _path_of(found: Found, paths: Mapping[str, str]) -> str:
    """The folder of its own, or the one below the folder of all."""
    if found.name in paths or not found.readable or "" not in paths:
        return paths.get(found.name, "")
    return f"{paths['']}/{found.name.replace('/', '-')}"


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


KIND = TaskKind(
    type="MOUNT",
    lane="restore",
    order=MountOrder,
    prepare=prepare,
    run=run,
    start=job_begun,
    settle=settle,
    members=frozenset({"taskFiles"}),
    submissions=(
        Submission(
            "restore-and-mount",
            MountRequest,
            plan,
            many=False,
            summary="Create restore and mount task.",
        ),
        Submission("mount", Again, plan_again, many=False, summary="Create mount task."),
    ),
)
