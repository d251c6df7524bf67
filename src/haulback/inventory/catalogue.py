"""Protocols by which kinds read records, one per kind of record; the store implements them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Protocol

from haulback.contract.order_records import BackupDestination, Hypervisor, IncrementBase
from haulback.contract.store import BackupVolume
from haulback.inventory.records import Backup, Entity, Mount, PlatformSnapshot, Record
from haulback.tasks.record import Task
from haulback.wire import Named


class MachineRecords(Protocol):
    """Machines that planning and preparing may read."""

    def get(self, guid: str) -> Entity: ...

    def get_many(self, guids: Sequence[str]) -> list[Entity]:
        """The entities of these guids, in the given order, in one query."""

    def find_named(self, hypervisor: str, name: str) -> Entity | None:
        """The present machine with a name on a hypervisor, or None.

        Raises NotFound if the machine is outside the caller's projects, so that only its name
        becomes known; raises Conflict if several machines have the name.
        """

    def find_at(self, hypervisor: str, uuid: str) -> Entity | None:
        """The machine with a uuid on a hypervisor, None if unknown."""

    def is_scheduled(self, entity: str) -> bool:
        """Whether an active incremental schedule applies to an entity."""


class PlaceRecords(Protocol):
    """Hypervisors, backup destinations and nodes."""

    def hypervisor(self, guid: str) -> Hypervisor: ...

    def hypervisors(self) -> list[Hypervisor]:
        """The hypervisors of users, ordered by name, without the server's own record."""

    def destination(self, guid: str) -> BackupDestination: ...

    def destinations(self) -> list[BackupDestination]: ...

    def default_destination(self) -> BackupDestination:
        """The destination for requests that name no destination.  Raises Malformed if ambiguous."""

    def node(self, guid: str) -> Named: ...

    def node_names(self) -> Mapping[str, str]:
        """The names of all nodes by guid."""

    def heard_last(self, nodes: Set[str] | None) -> str | None:
        """The node among `nodes` (None: among all) that sent the latest heartbeat."""

    def away(self) -> Set[str]:
        """The destinations that do not answer, because their breakers are open."""

    def only_node(self, field: str) -> str:
        """The guid of the only node.  Raises Malformed, naming `field`, for no node or several."""


class BackupRecords(Protocol):
    """Backups and their locations."""

    def get(self, guid: str) -> Backup: ...

    def locations(self, guid: str) -> list[Backup]:
        """All locations of a backup, the first location first; `guid` may name any of them."""

    def lacking(self, entity: str, rule: str, source: str, target: str) -> list[Backup]:
        """Some backups of a machine and a rule on `source` without a copy on `target`."""

    def copies(self, guids: Sequence[str]) -> list[Backup]:
        """The copies with these guids, in their order; unknown guids are left out."""

    def newest_before(self, copy: Backup, moment: int) -> str | None:
        """The newest sound backup of a copy's machine on its destination, older than a given
        time.
        """

    def held(self, guid: str) -> Backup:
        """A backup, locked so that no retention removes it before the end of the transaction."""

    def of_entity(self, entity: str, *statuses: str) -> list[Backup]:
        """Backups and copies of an entity with these statuses, by snapshot time, the newest first.

        A copy comes after its backup.
        """

    def stored_on(self, destination: str) -> list[Backup]:
        """Backups that are stored on a destination and not being removed."""

    def to_delete(self, destination: str, entity: str | None = None) -> list[str]:
        """Backups on a destination whose removal is decided but not carried out."""

    def at_location(self, guid: str) -> Backup:
        """The backup of a backup location."""

    def lock_of(self, guid: str) -> int:
        """The length in ms of the lock of a backup that is about to be stored."""

    def given_up(self, destination: str) -> list[str]:
        """Missing backups of a destination whose loss a user has confirmed."""


class BaseRecords(Protocol):
    """Increment bases, at most one per machine and destination."""

    def find(self, entity: str, destination: str) -> IncrementBase | None:
        """The base of the next increment of an entity on a destination."""

    def of_entity(self, entity: str) -> list[IncrementBase]:
        """The increment bases of an entity in all repositories."""

    def why_lost(self, entity: str, destination: str | None = None) -> str:
        """The reason why an entity lost its base on a destination (None: on any).

        "" if no reason is recorded.
        """


class SnapshotRecords(Protocol):
    """Snapshots on platforms."""

    def get(self, guid: str) -> PlatformSnapshot: ...

    def of_entity(self, entity: str) -> list[PlatformSnapshot]:
        """Snapshots of an entity, the newest first."""


class MountRecords(Protocol):
    """Mounted backups."""

    def get(self, guid: str) -> Mount: ...

    def volumes(self, mount: str) -> list[tuple[str, BackupVolume]]:
        """The file systems of a mounted backup, with their guids."""

    def under_machine(self, entity: Entity) -> Mount | None:
        """The mounted backup from which a machine runs, or None."""


class ConfigurationRecords(Protocol):
    """Configuration records: policies, rules, schedules, networks, recovery plans."""

    def get(self, kind: str, guid: str) -> Record:
        """A record of one kind, such as `rule` or `recovery-plan`."""

    def named(self, kind: str, guid: str) -> Named:
        """A reference to a record, which is read once for all plans of a transaction."""

    def of_kind(self, kind: str, parent: str | None = None) -> list[Record]: ...

    def changeable(self, kind: str, guid: str) -> Record:
        """A record that the caller may change.

        Raises NotFound; raises Forbidden for a record of all projects if the caller is restricted.
        """


class WorkInProgress(Protocol):
    """Queued and running tasks, found by the object that they use."""

    def is_busy(self, entity: str) -> bool:
        """Whether a queued or running task needs the entity's backups."""

    def under_way(self, role: str, guid: str, *kinds: str) -> list[Task]:
        """Queued, running and planned tasks of these kinds that refer to an object in a role.

        The object stays locked against other plans until this plan is stored or dropped.
        """

    def is_in_use(self, backup: Backup) -> bool:
        """Whether a task reads a backup, or makes an increment based on the backup."""


class Catalogue(Protocol):
    """Records that planning and preparing may read; unknown guids raise NotFound.

    Objects outside the caller's projects raise NotFound too.
    """

    @property
    def machines(self) -> MachineRecords: ...

    @property
    def places(self) -> PlaceRecords: ...

    @property
    def backups(self) -> BackupRecords: ...

    @property
    def bases(self) -> BaseRecords: ...

    @property
    def snapshots(self) -> SnapshotRecords: ...

    @property
    def mounts(self) -> MountRecords: ...

    @property
    def records(self) -> ConfigurationRecords: ...

    @property
    def work(self) -> WorkInProgress: ...
