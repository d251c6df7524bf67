"""Mode ISCSI of a MOUNT: whole disks, offered to named initiators."""

from __future__ import annotations

import re
from collections.abc import Sequence

from haulback.contract.mount import IscsiOrder
from haulback.contract.mounts import MountMode
from haulback.errors import Malformed, NotFound
from haulback.inventory.derived_guids import file_guid
from haulback.inventory.records import Backup, Mount
from haulback.wire import JsonObject

_CLIENT = re.compile(
    r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9.-]+(:[!-~]+)?|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16,32}"
)
_LONGEST = 223  # bytes of an iSCSI name (RFC 7143, 4.2.7.1)
_MOST = 64  # initiators of one target


def wanted(files: Sequence[str], clients: Sequence[str], backup: Backup) -> JsonObject:
    """Options for the record of the mount: names of disks, all unless disks are chosen."""
    return {"disks": disks_of(files, backup), "clients": _clients(clients)}


def disks_of(files: Sequence[str], backup: Backup) -> list[str]:
    """The disks of the chosen files.  Raises NotFound, and Malformed for a file that is named
    twice.
    """
    known = {file_guid(backup.first, file["name"]): str(file["name"]) for file in backup.files}
    for i, guid in enumerate(files):
        field = f"mountedDisks[{i}].backupFile"
        if guid not in known:
            raise NotFound(f"{field}: the backup has no file {guid}", field=field)
        if guid in files[:i]:
            raise Malformed(f"{field}: is named twice; name each file once", field=field)
    return [known[guid] for guid in files] or list(known.values())


def _clients(names: Sequence[str]) -> list[str]:
    field = "allowedClients"
    if not 0 < len(names) <= _MOST:
        raise Malformed(f"{field}: name 1 to {_MOST} initiators (IQN, --initiator)", field=field)
    for i, name in enumerate(names):
        if not _CLIENT.fullmatch(name) or len(name) > _LONGEST:
            place = f"{field}[{i}]"
            raise Malformed(
                f"{place}: {name[:40]!r} is not a name like iqn.2020-01.org.example:host",
                field=place,
            )
    return list(dict.fromkeys(names))


def target_of(mount: Mount) -> IscsiOrder | None:
    """The target of a mount of this mode; a mounted target keeps its port."""
    if mount.mode != MountMode.ISCSI.value:
        return None
    listened = mount.found.get("portal", "") if mount.state == "MOUNTED" else ""
    return IscsiOrder(
        disks=mount.wanted["disks"],
        clients=mount.wanted["clients"],
        port=int(listened.rpartition(":")[2] or 0),
    )
