"""The reports of nodes on each kind of task by PUT /tasks/{guid}/transfer-info, member by member.

The OpenAPI document and docs/reference/node-reports.md are made from these tables; a test holds
them against the structs that the kinds read.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Said(NamedTuple):
    """A member of a report.  `form` is a key of FORMS; `needed`: without the member the task does
    not count in full.
    """

    name: str
    form: str
    about: str
    needed: bool = False


FORMS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "guid": {"type": "string", "format": "uuid"},
    "bytes": {"type": "integer", "minimum": 0},
    "count": {"type": "integer", "minimum": 0},
    "time": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "guids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
    "array": {"type": "array", "items": {"type": "object"}},
    "object": {"type": "object"},
}
_SPACE = (
    Said("totalSpace", "bytes", "Size of the file system that holds the destination."),
    Said("freeSpace", "bytes", "Bytes that are free there."),
)
_MACHINES = (
    Said(
        "machines",
        "array",
        "Each machine: uuid and name; disks, each with name, size (bytes) and format; project; "
        "present; place (where the platform keeps the machine); snapshots, each with name and "
        "time (epoch ms); hardware.",
        needed=True,
    ),
    Said("networks", "array", "Each network: name and uuid; absent where the node cannot tell."),
    Said("storages", "array", "Each storage: name, uuid, total and free (bytes)."),
    Said("gone", "texts", "Uuids that were asked for and that the platform does not show."),
    Said("problems", "count", "Number of machines that cannot be read."),
    Said("unreadable", "array", "Each machine that cannot be read: where, message, uuid."),
    Said("shown", "count", "Number of machines there are in all, where a few were asked for."),
)
_REMOVED = (
    Said("removed", "guids", "The backups of the order that are gone now.", needed=True),
    Said("givenUp", "guids", "Backups whose loss a person confirmed and that were not found."),
    *_SPACE,
)
REPORTS: dict[str, tuple[Said, ...]] = {
    "BACKUP_CLEANUP": _REMOVED,
    "BACKUP_DESTINATION_INIT": (
        Said(
            "repository",
            "guid",
            "The guid of what was made in the destination's folder; without it the server takes "
            "the guid of the destination.",
        ),
        *_SPACE,
    ),
    "CONNECTIVITY_TEST": (Said("reachable", "flag", "FINISHED says the same."),),
    "DELETE": _REMOVED,
    "EXPORT": (
        Said("type", "text", "FULL or INCREMENTAL: the type that was made.", needed=True),
        Said("snapshotTime", "time", "The moment whose state was read, epoch ms.", needed=True),
        Said("size", "bytes", "Size of all disks of the backup.", needed=True),
        Said("read", "bytes", "Bytes that were read of the machine.", needed=True),
        Said("stored", "bytes", "Bytes that wait to be stored.", needed=True),
        Said("files", "array", "Each disk: name, size (bytes), format (raw, qcow2)."),
        Said("parent", "guid", "The backup that an increment builds on."),
        Said("checkpoint", "text", "What the next increment may build on, once it is stored."),
        Said("cbtId", "text", "The same, as PUT /tasks/cbt-id sets it."),
        Said("definition", "object", "The machine around its disks, as the platform says it."),
        Said("warnings", "texts", "Sentences about what the backup does not hold."),
        Said("consistency", "text", "STOPPED, APPLICATION or CRASH."),
    ),
    "IMPORT": (
        Said("uuid", "text", "The uuid of the new machine on its platform.", needed=True),
        Said("name", "text", "The name of the new machine.", needed=True),
        Said("disks", "array", "Each disk: name, size (bytes), format."),
        Said("warnings", "texts", "Sentences about parts that the machine goes without."),
    ),
    "INVENTORY_SYNC": _MACHINES,
    "LIVE_MIGRATION": (Said("uuid", "text", "The uuid of the machine where it runs now."),),
    "MOUNT": (
        Said("disks", "object", "Size (bytes) of each disk that is shared, by its name."),
        Said("raw", "text", "The folder in which the disks are files."),
        Said("portal", "text", "ADDRESS:PORT of an iSCSI target."),
        Said("volumes", "array", "Each file system: name, type, size, path where it is seen."),
    ),
    "PROVE": (
        Said(
            "evidence",
            "object",
            "sign (AGENT, TEXT, SCREEN), took (ms), disks (a hash of each by name), console, "
            "text, script, screenshot (PNG in base64).",
            needed=True,
        ),
        Said("warnings", "texts", "Sentences about parts that the machine went without."),
    ),
    "REPAIR": (
        Said("actions", "texts", "What was done, or would be done."),
        Said("aside", "texts", "Objects that were set aside."),
        Said("losses", "count", "Number of losses."),
        Said("damage", "object", "The damage that is left; see docs/design/damage.md."),
    ),
    "RESTORE": (
        Said("path", "text", "The folder that holds disk0.raw, disk1.raw … now."),
        Said("disks", "count", "Number of disks, where the order says pointer."),
        Said("checked", "flag", "Every byte was read and is what was stored."),
        Said("warnings", "texts", "Sentences about what was not restored."),
    ),
    "SCOPED_INVENTORY_SYNC": _MACHINES,
    "SNAPSHOT": (
        Said("uuid", "text", "The name of the snapshot on the platform.", needed=True),
        Said("snapshotTime", "time", "The moment of the snapshot, epoch ms.", needed=True),
        Said("consistency", "text", "STOPPED, APPLICATION or CRASH."),
    ),
    "SNAPSHOT_CLEANUP": (
        Said("removed", "texts", "Names of the snapshots that are gone now.", needed=True),
    ),
    "SNAPSHOT_REVERSION": (
        Said("before", "text", "The name of the snapshot that keeps what was.", needed=True),
        Said("snapshotTime", "time", "The moment of that snapshot, epoch ms.", needed=True),
    ),
    "STAGING_CLEANUP": (
        Said("removed", "count", "Number of leftovers that were removed."),
        Said("held", "object", "Times of snapshots by hypervisor, machine and name."),
    ),
    "STORE": (
        Said("stored", "bytes", "Bytes that the backup takes on the destination.", needed=True),
        Said("parent", "guid", "The backup that an increment builds on."),
        Said("volumes", "array", "Each file system in it: name, type, size (bytes)."),
        *_SPACE,
    ),
    "UNMOUNT": (Said("unmounted", "flag", "FINISHED says the same."),),
    "UPLOAD": (Said("uploaded", "count", "Number of paths that were copied."),),
    "VERIFY": (
        Said("cursor", "text", "How far the destination was read, in hex; empty at its end."),
        Said("isRound", "flag", "Whether that ended a round."),
        Said("read", "bytes", "Bytes that were read."),
        Said("groups", "count", "Number of groups that were read."),
        Said("backups", "count", "Number of backups that were looked at."),
        Said("looked", "text", "The backup after which the next VERIFY goes on; empty after all."),
        Said("unknown", "count", "Number of backups that the catalogue does not know."),
        Said("strangers", "count", "Number of objects that belong to no repository."),
        Said("damage", "object", "The damage that was found; see docs/design/damage.md."),
        *_SPACE,
    ),
}


def lacking(kind: str, results: dict[str, object]) -> list[str]:
    """The members that a report of this kind needs and does not have."""
    return [one.name for one in REPORTS[kind] if one.needed and results.get(one.name) is None]
