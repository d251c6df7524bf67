"""Inventory and catalogue records, and the Protocols by which kinds ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from haulback.tasks.record import Task
from haulback.wire import Named, label

NOT_DECIDED = ("QUEUED", "INPROGRESS")  # a backup whose tasks are still under way
REMOVED = "SUCCESS_REMOVED"


class Hypervisor(msgspec.Struct, kw_only=True):
    """A place where machines live; `driver` names the product, `config` is its own.

    `node` is the only node that can reach it, None when any can.  `settings` is what people set
    that no driver needs: manager, cluster, node configuration.
    """

    guid: str
    name: str
    driver: str
    config: dict[str, Any]
    node: str | None = None
    settings: dict[str, Any] = {}


class Destination(msgspec.Struct, kw_only=True):
    """Where backups go.  `repository` is the repository's guid once it is initialised.

    `settings` holds retention and limits; spaces are bytes, as a node last saw them.
    `may_delete` is a grant for one order: other work can only add.
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


class Disk(msgspec.Struct):
    """A disk of an entity, size in bytes."""

    name: str
    size: int
    format: str = "raw"


class Entity(msgspec.Struct, kw_only=True):
    """What is protected.  `present` is false when the platform no longer shows it.

    `settings` is what people set (`excludedDisks`), `facts` what its last backups were,
    `hardware` what else its platform says (see `hardware.Hardware`), `seen` when (epoch ms).
    `absent_since` (epoch ms): the first look that missed it, None when the last one saw it; while
    that look is not believed the machine counts as present.  `problem`: why it cannot be read;
    `place`: where its platform keeps it, "" where nobody has told.
    """

    guid: str
    uuid: str
    name: str
    type: str = "VM"
    hypervisor: str
    present: bool = True
    disks: list[Disk] = []
    project: str | None = None
    settings: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    seen: int = 0
    absent_since: int | None = None
    problem: str | None = None
    place: str = ""

    def named(self) -> Named:
        """As a typed reference."""
        return Named(self.guid, self.name, label(self.type))


class Place(msgspec.Struct, kw_only=True):
    """A network, or a storage pool (with bytes), as its platform names it."""

    name: str
    uuid: str = ""
    total: int | None = None
    free: int | None = None


class Backup(msgspec.Struct, kw_only=True):
    """A point in time of an entity.  Times in epoch milliseconds, sizes in bytes.

    `status`: QUEUED, INPROGRESS, then SUCCESS, PARTIAL_SUCCESS or FAILED; SUCCESS_REMOVED once
    its removal is decided; `gone` once a node has carried that out.  `keep_until` locks it.
    `level` is the most that was proved of it: STORED, VERIFIED, MOUNTED, BOOTED; `consistency` how
    its machine stood at the snapshot: STOPPED, APPLICATION, CRASH; `volumes` its file systems.
    `location_status` is a `damage.LocationStatus` of a stored one, `damage` a `damage.Damage`.
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
        """Whether it is stored and nothing is known to be wrong with it."""
        return self.status == "SUCCESS" and self.location_status == "PRESENT"

    def locked(self, now: int) -> bool:
        """Whether it may not be removed yet, whoever asks: an archive without an end never."""
        if self.keep_until is None:
            return self.hint == "ARCHIVE"
        return now < self.keep_until


class Snapshot(msgspec.Struct, kw_only=True):
    """A snapshot that stays on the platform, `uuid` its name there.  Times in epoch ms.

    `managed`: we took it, and may remove it.  `rule` and `policy` say how long it stays.
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


class Volume(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A file system of a backup; bytes.  `reason` says why it cannot be read."""

    name: str
    type: str
    size: int = 0
    label: str = ""
    uuid: str = ""
    readable: bool = True
    reason: str = ""
    path: str = ""  # where a node shows it


class Mount(msgspec.Struct, kw_only=True):
    """A backup that a node shares, or shared.  Times in epoch ms, `keep` in ms (0: for good).

    `state`: QUEUED, MOUNTED, UNMOUNTED, FAILED.  `wanted` is what was asked for, `found` what the
    node shows.  `hypervisor` and `machine` (its uuid there) are of one that runs from it.
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


class Base(msgspec.Struct):
    """What the next increment of an entity builds on in one repository."""

    entity: str
    destination: str
    backup: str
    checkpoint: str | None = None


class Record(msgspec.Struct, kw_only=True):
    """Something people keep that the queue does not depend on: a policy, a rule, a network."""

    guid: str
    kind: str
    name: str
    parent: str = ""
    project: str | None = None
    body: dict[str, Any] = {}
    created: int = 0
    modified: int = 0


class Catalogue(Protocol):
    """What planning and preparing may read.  All raise NotFound for an unknown guid.

    What lies outside the caller's projects is unknown to it.
    """

    def entity(self, guid: str) -> Entity: ...

    def entities_of(self, guids: Sequence[str]) -> list[Entity]:
        """Those machines, in the order asked, in one question."""

    def machine_named(self, hypervisor: str, name: str) -> Entity | None:
        """The present machine of that name there, None if there is none.

        Raises NotFound when it is not the caller's: its name is all that may become known;
        Conflict when several have that name.
        """

    def machine_at(self, hypervisor: str, uuid: str) -> Entity | None:
        """The machine of that uuid there, None if none is known."""

    def hypervisor(self, guid: str) -> Hypervisor: ...

    def hypervisors(self) -> list[Hypervisor]: ...

    def destination(self, guid: str) -> Destination: ...

    def destinations(self) -> list[Destination]: ...

    def default_destination(self) -> Destination:
        """The one for requests that name none.  Raises Malformed when that is ambiguous."""

    def backup(self, guid: str) -> Backup: ...

    def backups_of(self, entity: str, *statuses: str) -> list[Backup]:
        """Backups of an entity, the newest first."""

    def stored_on(self, destination: str) -> list[Backup]:
        """What is stored on a destination and not being removed."""

    def going(self, destination: str, entity: str | None = None) -> list[str]:
        """Backups on a destination whose removal is decided but not carried out."""

    def location(self, guid: str) -> Backup:
        """The backup that a backup location belongs to."""

    def given_up(self, destination: str) -> list[str]:
        """Missing backups of a destination whose loss a person has confirmed."""

    def base(self, entity: str, destination: str) -> Base | None: ...

    def bases(self, entity: str) -> list[Base]:
        """What increments of an entity still build on, in any repository."""

    def snapshot(self, guid: str) -> Snapshot: ...

    def snapshots_of(self, entity: str) -> list[Snapshot]:
        """Snapshots of an entity, the newest first."""

    def mount(self, guid: str) -> Mount: ...

    def mounted_volumes(self, mount: str) -> list[tuple[str, Volume]]:
        """The file systems that a mounted backup shows, with their guids."""

    def mount_under(self, entity: Entity) -> Mount | None:
        """The mounted backup that a machine runs from, if it does."""

    def node(self, guid: str) -> Named: ...

    def record(self, kind: str, guid: str) -> Record:
        """A record of one kind, like `rule` or `recovery-plan`."""

    def records(self, kind: str, parent: str | None = None) -> list[Record]: ...

    def only_node(self, field: str) -> str:
        """The one node there is.  Raises Malformed, naming `field`, when it must be said."""

    def is_busy(self, entity: str) -> bool:
        """Whether a task is under way or waits that must not lose the entity's backups."""

    def under_way(self, role: str, guid: str, *kinds: str) -> list[Task]:
        """Tasks of these kinds that refer to an object in a role and are not over, planned ones
        too.  From then on no other plan asks about the object until this one is made or dropped.
        """

    def is_in_use(self, backup: Backup) -> bool:
        """Whether a task reads a backup, or is making an increment that builds on it."""

    def is_scheduled(self, entity: str) -> bool:
        """Whether an active incremental schedule applies to an entity."""
