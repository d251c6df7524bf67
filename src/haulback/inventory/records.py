"""Inventory and catalogue records."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from haulback.contract.machines import VirtualDisk
from haulback.contract.store import BackupVolume
from haulback.wire import JsonObject, Named, label

NOT_DECIDED = ("QUEUED", "INPROGRESS")  # statuses of a backup whose tasks have not ended
REMOVED = "SUCCESS_REMOVED"


class Entity(msgspec.Struct, kw_only=True):
    """A protected entity; `present` is false if the platform no longer lists it.

    `settings` are user settings (`excludedDisks`), `facts` data of the last backups, `hardware` is
    a `hardware.Hardware`, `seen` is the time of the last scan that saw it (epoch ms).
    `absent_since` (epoch ms) is the time of the first scan that missed the entity, None if the last
    scan saw it; until a later scan confirms that, the entity counts as present.  `problem` is the
    reason why the entity cannot be read; `place` is the entity's folder on its platform, "" if
    unknown.  `protection` is a `contract.protection.ProtectionState`, in which the entity is since
    `protection_since` (epoch ms); the state must be evaluated again at `protection_due`.
    """

    guid: str
    uuid: str
    name: str
    type: str = "VM"
    hypervisor: str
    present: bool = True
    disks: list[VirtualDisk] = []
    project: str | None = None
    settings: JsonObject = {}
    facts: JsonObject = {}
    hardware: JsonObject = {}
    seen: int = 0
    absent_since: int | None = None
    problem: str | None = None
    place: str = ""
    protection: str = "UNASSIGNED"
    protection_since: int | None = None
    protection_due: int | None = None

    def named(self) -> Named:
        """A typed reference to the entity."""
        return Named(self.guid, self.name, label(self.type))


class Backup(msgspec.Struct, kw_only=True):
    """A backup of an entity, at one location.  Times in epoch milliseconds, sizes in bytes.

    `status`: QUEUED, INPROGRESS, then SUCCESS, PARTIAL_SUCCESS or FAILED; SUCCESS_REMOVED once its
    removal is decided; `gone` once a node has deleted the data.  `keep_until` is the end of the
    retention lock.  `level` is the highest proof: STORED, VERIFIED, MOUNTED, BOOTED; `consistency`
    the machine's state at the snapshot: STOPPED, APPLICATION, CRASH; `volumes` the file systems.
    `location_status` is a `damage.LocationStatus` of a stored backup, `damage` a `damage.Damage`.
    `role` is the role of the destination in the rule, `terms` the key of the retention terms under
    which the backup was made; `lock_until` (epoch ms) is the end of the lock set at its making.
    `copy_of` is the backup of which this is another location, None for the first location;
    `heal_after` (epoch ms) is the next attempt to heal the location.
    """

    guid: str
    entity: str
    entity_name: str
    destination: str
    location: str
    type: str
    status: str = "QUEUED"
    status_info: str | None = None
    created: int = 0
    snapshot_time: int | None = None
    stored_time: int | None = None
    size: int = 0
    read: int = 0
    stored: int = 0
    parent: str | None = None
    project: str | None = None
    origin: JsonObject = {}
    rule: str | None = None
    description: str | None = None
    warnings: list[str] = []
    acknowledged: bool = False
    hint: str = "STANDARD_RETENTION"
    keep_until: int | None = None
    files: list[JsonObject] = []
    definition: JsonObject = {}
    volumes: list[JsonObject] = []
    times: dict[str, int] = {}
    gone: bool = False
    level: str = "STORED"
    consistency: str | None = None
    location_status: str = "PRESENT"
    damage: JsonObject = {}
    role: str = "PRIMARY"
    terms: str | None = None
    lock_until: int | None = None
    copy_of: str | None = None
    heal_after: int = 0

    @property
    def first(self) -> str:
        """The guid of the backup, which each of its locations shares with the first location."""
        return self.copy_of or self.guid

    @property
    def is_whole(self) -> bool:
        """Whether the backup is stored and has no known damage."""
        return self.status == "SUCCESS" and self.location_status == "PRESENT"

    @property
    def held(self) -> int:
        """Bytes that only this backup uses; for an increment the bytes that were read."""
        return self.size if self.type == "FULL" else min(self.read, self.size)

    def locked(self, now: int) -> bool:
        """Whether the backup must not be removed; an archive without end is locked forever."""
        if self.keep_until is None:
            return self.hint == "ARCHIVE"
        return now < self.keep_until


class PlatformSnapshot(msgspec.Struct, kw_only=True):
    """A snapshot on the platform; `uuid` is its name there.  Times in epoch ms.

    `managed`: Haulback took the snapshot and may remove it.  `rule` and `policy` determine its
    retention.
    """

    guid: str
    entity: str
    uuid: str
    created: int
    snapshot_time: int
    managed: bool = True
    consistency: str | None = None
    description: str | None = None
    rule: str | None = None
    policy: str | None = None
    project: str | None = None


class Mount(msgspec.Struct, kw_only=True):
    """A mounted backup, now or earlier.  Times in epoch ms, `keep` in ms (0: no end).

    `state`: QUEUED, MOUNTED, UNMOUNTED, FAILED.  `wanted` holds the options of the request, `found`
    the node's report.  `hypervisor` and `machine` (its uuid on that hypervisor) name a machine that
    runs from the mount.
    """

    guid: str
    backup: str
    entity: str
    entity_name: str
    node: str
    mode: str
    state: str = "QUEUED"
    created: int = 0
    mounted: int | None = None
    unmount_at: int | None = None
    keep: int = 0
    wanted: JsonObject = {}
    found: JsonObject = {}
    snapshot_time: int | None = None
    size: int = 0
    project: str | None = None
    hypervisor: str | None = None
    machine: str | None = None


class Record(msgspec.Struct, kw_only=True):
    """A configuration record that the task queue does not need: a policy, a rule, a network."""

    guid: str
    kind: str
    name: str
    parent: str = ""
    project: str | None = None
    body: JsonObject = {}
    created: int = 0
    modified: int = 0


class RestoreJob(msgspec.Struct, kw_only=True):
    """A restore with its request and its results; times in epoch ms, sizes in bytes."""

    guid: str
    type: str
    status: str
    status_info: str | None
    entity: str
    entity_name: str
    backup: str
    snapshot_time: int | None
    size: int
    created: int
    finished: int | None
    target: JsonObject
    times: dict[str, int]


class ShownFileSystem(NamedTuple):
    """A file system in a mounted backup."""

    guid: str
    mount: str
    volume: BackupVolume
