"""Options of a mount in mode AUTO, MANUAL or ISCSI: file systems, disks and folders."""

from __future__ import annotations

import time

import msgspec

from haulback.contract.mount import MountRequest, PublishedFolder
from haulback.contract.mounts import MountMode
from haulback.errors import Malformed
from haulback.inventory.derived_guids import volume_guid
from haulback.inventory.records import Backup, Mount
from haulback.kinds.support import iscsi_mount
from haulback.wire import JsonObject


def wanted(request: MountRequest, backup: Backup) -> JsonObject:
    """Options for the record of the mount.  Raises Malformed for an option of another mode."""
    files = [disk.backupFile.guid for disk in request.mountedDisks or []]
    if request.mode is MountMode.ISCSI:
        if request.mountedFileSystems:
            raise Malformed(
                "mountedFileSystems: leave the member out in mode ISCSI, which shows disks",
                field="mountedFileSystems",
            )
        return iscsi_mount.wanted(files, request.allowedClients or [], backup)
    if request.allowedClients:
        raise Malformed(
            "allowedClients: belongs to mode ISCSI; leave the member out", field="allowedClients"
        )
    if files and request.mode is MountMode.AUTO:
        raise Malformed(
            "mountedDisks: belongs to the modes MANUAL and ISCSI; leave the member out",
            field="mountedDisks",
        )
    shown = _visible(request, backup)
    if files:
        shown.append(PublishedFolder("", disks=iscsi_mount.disks_of(files, backup)))
    return {"visible": msgspec.to_builtins(shown)}


def _visible(request: MountRequest, backup: Backup) -> list[PublishedFolder]:
    field, known = "mountedFileSystems", _volumes(backup)
    wanted = request.mountedFileSystems or []
    if request.mode is MountMode.MANUAL and not (wanted or request.mountedDisks):
        raise Malformed(
            f"{field}: name at least one file system, or a disk in mountedDisks", field=field
        )
    if request.mode is MountMode.AUTO and (len(wanted) > 1 or any(w.fileSystem for w in wanted)):
        raise Malformed(
            f"{field}: mode AUTO selects the file systems; send only a mountPath", field=field
        )
    visible = []
    for i, choice in enumerate(wanted):
        volume = ""
        if request.mode is MountMode.MANUAL:
            guid = choice.fileSystem.guid if choice.fileSystem else ""
            if guid not in known:
                path = f"{field}[{i}].fileSystem"
                raise Malformed(f"{path}: the backup has no file system {guid or ''}", field=path)
            volume = known[guid]
        path = _path(choice.mountPath, f"{field}[{i}].mountPath")
        if path or volume:
            visible.append(PublishedFolder(path, volume))
    return visible


def _volumes(backup: Backup) -> dict[str, str]:
    return {volume_guid(backup.guid, one["name"]): one["name"] for one in backup.volumes}


def _path(path: str | None, field: str) -> str:
    if not path:
        return ""
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or len(path) > 1000 or not path.isprintable():
        raise Malformed(f"{field}: name a folder by its absolute path", field=field)
    return path


def folders(mount: Mount) -> list[PublishedFolder]:
    """The folders of a mount; a folder without a path in the request gets the default path."""
    visible = msgspec.convert(mount.wanted.get("visible", []), list[PublishedFolder])
    return [msgspec.structs.replace(v, path=v.path or _usual_path(mount, v)) for v in visible]


def _usual_path(mount: Mount, shown: PublishedFolder) -> str:
    name = "".join(c if c.isalnum() or c in "._- " else "_" for c in mount.entity_name).strip(". ")
    moment = time.gmtime((mount.snapshot_time or mount.created) / 1000)
    place = f"/mnt/haulback/{name or 'machine'}/{time.strftime('%Y%m%d_%H%M%S', moment)}"
    return f"{place}/{'disks' if shown.disks else shown.volume.replace('/', '-')}"
