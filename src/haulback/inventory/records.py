"""Inventory and catalogue records, and the Protocols by which kinds ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from haulback.contract.machines import VirtualDisk
from haulback.tasks.record import Task
from haulback.wire import Named, label

NOT_DECIDED = ("QUEUED", "INPROGRESS")  # a backup whose tasks are still under way
REMOVED = "SUCCESS_REMOVED"


class Hypervisor(msgspec.Struct, kw_only=True):
    """A hypervisor; `driver` names the driver, `config` is the driver's configuration.

    `node` is the only node that can reach the hypervisor, None when any node can.  `settings` are
    user settings that the driver does not need: manager, cluster, node configuration.
    """

    guid: str
    name: str
    driver: str
    config: dict[str, Any]
    node: str | None = None
    settings: dict[str, Any] = {}


class BackupDestination(msgspec.Struct, kw_only=True):
    """A backup destination; `repository` is the repository's guid after initialisation.

    `settings` holds retention and verification; spaces are bytes, as a node last reported them.
    `may_delete` grants deletion to one task's order: other tasks can only add objects.
    """

    guid: str
    name: str
    driver: str
    config: dict[str, Any]
    repository: str | None = None
    node: str | None = None
    settings: dict[str, Any] = {}
    total_space: int | None = None
    used_space: int | None = None
    may_delete: bool = False
    verify_state: dict[str, Any] = {}


class Entity(msgspec.Struct, kw_only=True):
    """A protected entity; `present` is false when the platform no longer shows the entity.

    `settings` are user settings (`excludedDisks`), `facts` data of the last backups, `hardware` a
    `hardware.Hardware`, `seen` when a scan last saw it (epoch ms).  `absent_since` (epoch ms) is
    the first scan that missed the entity, None when the last scan saw the entity; until that scan
    is believed, the entity counts as present.  `problem` is the reason why the entity cannot be
    read; `place` the entity's folder on its platform, "" where unknown.
    """

    guid: str
    uuid: str
    name: str
    type: str = "VM"
    hypervisor: str
    present: bool = True
    disks: list[VirtualDisk] = []
    project: str | None = None
    settings: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    seen: int = 0
    absent_since: int | None = None
    problem: str | None = None
    place: str = ""

    def named(self) -> Named:
        """A typed reference to the entity."""
        return Named(self.guid, self.name, label(self.type))


class PlatformResource(msgspec.Struct, kw_only=True):
    """A network or a storage pool of a platform; sizes of pools in bytes."""

    name: str
    uuid: str = ""
    total: int | None = None
    free: int | None = None


class Backup(msgspec.Struct, kw_only=True):
    """A backup of an entity.  Times in epoch milliseconds, sizes in bytes.

    `status`: QUEUED, INPROGRESS, then SUCCESS, PARTIAL_SUCCESS or FAILED; SUCCESS_REMOVED once its
    removal is decided; `gone` once a node has deleted the data.  `keep_until` is the end of the
    retention lock.  `level` is the highest proof: STORED, VERIFIED, MOUNTED, BOOTED; `consistency`
    the machine's state at the snapshot: STOPPED, APPLICATION, CRASH; `volumes` the file systems.
    `location_status` is a `damage.LocationStatus` of a stored backup, `damage` a `damage.Damage`.
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
    origin: dict[str, Any] = {}
    rule: str | None = None
    description: str | None = None
    warnings: list[str] = []
    acknowledged: bool = False
    hint: str = "STANDARD_RETENTION"
    keep_until: int | None = None
    files: list[dict[str, Any]] = []
    definition: dict[str, Any] = {}
    volumes: list[dict[str, Any]] = []
    times: dict[str, int] = {}
    gone: bool = False
    level: str = "STORED"
    consistency: str | None = None
    location_status: str = "PRESENT"
    damage: dict[str, Any] = {}

    @property
    def is_whole(self) -> bool:
        """Tell whether the backup is stored and has no known damage."""
        return self.status == "SUCCESS" and self.location_status == "PRESENT"

    @property
    def held(self) -> int:
        """Bytes that it holds of its own: of an increment those that were read for it."""
        return self.size if self.type == "FULL" else min(self.read, self.size)

    def locked(self, now: int) -> bool:
        """Tell whether the backup must not be removed; an archive without end is locked forever."""
        if self.keep_until is None:
            return self.hint == "ARCHIVE"
        return now < self.keep_until


class PlatformSnapshot(msgspec.Struct, kw_only=True):
    """A snapshot on the platform; `uuid` is its name there.  Times in epoch ms.

    `managed`: Haulback took the snapshot and may remove the snapshot.  `rule` and `policy` set its
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


class BackupVolume(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A file system of a backup; size in bytes.  `reason` says why it is unreadable."""

    name: str
    type: str
    size: int = 0
    label: str = ""
    uuid: str = ""
    readable: bool = True
    reason: str = ""
    path: str = ""  # mount path on the node


class Mount(msgspec.Struct, kw_only=True):
    """A mounted backup, now or earlier.  Times in epoch ms, `keep` in ms (0: no end).

    `state`: QUEUED, MOUNTED, UNMOUNTED, FAILED.  `wanted` holds the options of the request, `found`
    the node's report.  `hypervisor` and `machine` (its uuid there) name a machine that runs from
    the mount.
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
    wanted: dict[str, Any] = {}
    found: dict[str, Any] = {}
    snapshot_time: int | None = None
    size: int = 0
    project: str | None = None
    hypervisor: str | None = None
    machine: str | None = None


class IncrementBase(msgspec.Struct):
    """The base of the next increment of an entity in one repository."""

    entity: str
    destination: str
    backup: str
    checkpoint: str | None = None


class Record(msgspec.Struct, kw_only=True):
    """A configuration record that the task queue does not need: a policy, a rule, a network."""

    guid: str
    kind: str
    name: str
    parent: str = ""
    project: str | None = None
    body: dict[str, Any] = {}
    created: int = 0
    modified: int = 0


class Catalogue(Protocol):
    """Records that planning and preparing may read; unknown guids raise NotFound.

    Objects outside the caller's projects raise NotFound too.
    """

    def entity(self, guid: str) -> Entity: ...

    def entities_of(self, guids: Sequence[str]) -> list[Entity]:
        """The entities of these guids, in the given order, in one query."""

    def machine_named(self, hypervisor: str, name: str) -> Entity | None:
        """The present machine of a name on a hypervisor, None without one.

        Raises NotFound when the machine is outside the caller's projects, so that only its name
        becomes known; Conflict when several machines have the name.
        """

    def machine_at(self, hypervisor: str, uuid: str) -> Entity | None:
        """The machine of a uuid on a hypervisor, None if unknown."""

    def hypervisor(self, guid: str) -> Hypervisor: ...

    def hypervisors(self) -> list[Hypervisor]: ...

    def destination(self, guid: str) -> BackupDestination: ...

    def destinations(self) -> list[BackupDestination]: ...

    def default_destination(self) -> BackupDestination:
        """The destination of requests that name none.  Raises Malformed if ambiguous."""

    def backup(self, guid: str) -> Backup: ...

    def backups_of(self, entity: str, *statuses: str) -> list[Backup]:
        """Backups of an entity in these statuses, the newest first."""

    def stored_on(self, destination: str) -> list[Backup]:
        """Backups that are stored on a destination and not being removed."""

    def going(self, destination: str, entity: str | None = None) -> list[str]:
        """Backups on a destination whose removal is decided but not carried out."""

    def location(self, guid: str) -> Backup:
        """The backup of a backup location."""

    def given_up(self, destination: str) -> list[str]:
        """Missing backups of a destination whose loss a user has confirmed."""

    def base(self, entity: str, destination: str) -> IncrementBase | None: ...

    def bases(self, entity: str) -> list[IncrementBase]:
        """The increment bases of an entity in all repositories."""

    def snapshot(self, guid: str) -> PlatformSnapshot: ...

    def snapshots_of(self, entity: str) -> list[PlatformSnapshot]:
        """Snapshots of an entity, the newest first."""

    def mount(self, guid: str) -> Mount: ...

    def mounted_volumes(self, mount: str) -> list[tuple[str, BackupVolume]]:
        """The file systems of a mounted backup, with their guids."""

    def mount_under(self, entity: Entity) -> Mount | None:
        """The mounted backup that a machine runs from, None without one."""

    def node(self, guid: str) -> Named: ...

    def record(self, kind: str, guid: str) -> Record:
        """A record of one kind, like `rule` or `recovery-plan`."""

    def records(self, kind: str, parent: str | None = None) -> list[Record]: ...

    def only_node(self, field: str) -> str:
        """The guid of the only node.  Raises Malformed, naming `field`, for several or none."""

    def is_busy(self, entity: str) -> bool:
        """Tell whether a queued or running task needs the entity's backups."""

    def under_way(self, role: str, guid: str, *kinds: str) -> list[Task]:
        """Tasks of these kinds that refer to an object in a role and are not over, planned ones
        too.  From then on no other plan asks about the object until this one is made or dropped.
        """

    def is_in_use(self, backup: Backup) -> bool:
        """Tell whether a task reads a backup, or makes an increment based on the backup."""

    def is_scheduled(self, entity: str) -> bool:
        """Tell whether an active incremental schedule applies to an entity."""
