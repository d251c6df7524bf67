"""Protocols of record changes at the start and the end of a task; the store implements them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from haulback.contract.alarms import AlarmKind
from haulback.contract.destination_probe import StoreProbe
from haulback.contract.inventory_sync import PlatformResource
from haulback.contract.order_records import Hypervisor, IncrementBase
from haulback.contract.space import SpaceUsage
from haulback.contract.store import BackupVolume
from haulback.contract.verify import UnknownBackup
from haulback.inventory.presence import HypervisorScan, UnreadableMachine
from haulback.inventory.records import Entity, PlatformSnapshot
from haulback.tasks.record import Task
from haulback.wire import JsonObject, Named


class BackupChanges(Protocol):
    """Changes of a backup that is being made."""

    def started(self, backup: str) -> None:
        """Set a backup to INPROGRESS, because its export runs."""

    def exported(self, backup: str, kind: str, snapshot_time: int, size: int, read: int) -> None:
        """Record an export complete in staging; `snapshot_time` in epoch ms, sizes in bytes."""

    def described(
        self, backup: str, files: list[JsonObject], definition: JsonObject, consistency: str | None
    ) -> None:
        """Record the disks of a backup, the definition of its machine, and the consistency of the
        snapshot: STOPPED, APPLICATION or CRASH.
        """

    def type_changed(self, task: Task, kind: str, warnings: list[str]) -> None:
        """Change the backup type of a task, of the following task and of the backup."""

    def warned(self, backup: str, warnings: list[str]) -> None: ...

    def contains(self, backup: str, volumes: list[BackupVolume]) -> None:
        """Record the file systems of a backup."""

    def stored(self, backup: str, stored: int, parent: str | None) -> None:
        """Record that a backup is stored on its destination; `stored` in bytes."""

    def copied(self, copy: str, stored: int, parent: str | None) -> None:
        """Record that a copy of a backup is stored on its destination; `stored` in bytes."""

    def partial(self, backup: str, reason: str) -> None:
        """Set a backup to PARTIAL_SUCCESS, because its data may or may not be stored."""

    def failed(self, backup: str, reason: str) -> None: ...

    def copy_failed(self, copy: str, source: str, reason: str, *, cancelled: bool) -> None:
        """Set a copy from the destination `source` to FAILED.

        The server repeats the copy after growing delays, at least once a day. A copy that a user
        `cancelled` is repeated after a day.
        """

    def timed(self, task: Task) -> None:
        """Add the waiting time and the run time of a task to its backup."""


class ProofChanges(Protocol):
    """Changes of the proof level of a stored backup."""

    def verified(self, backup: str) -> None:
        """Raise the level of a backup to VERIFIED, because all data was read back and matches."""

    def booted(self, backup: str, evidence: JsonObject, task: Task) -> None:
        """Raise the level of a backup to BOOTED, and store the signed evidence."""


class BaseChanges(Protocol):
    """Changes of increment bases."""

    def promote(self, base: IncrementBase) -> None:
        """Make `base` the base of the next increments."""

    def void(self, entity: str, why: str) -> None:
        """Delete the increment bases of an entity, so that the next backup is a full backup.

        `why` is the reason, stored for each destination until its next base.
        """


class RemovalChanges(Protocol):
    """Removal of backups, and of entities without data."""

    def remove(self, backups: Iterable[str], why: str) -> None:
        """Mark backups as removed, so that no restore and no increment uses them from now on."""

    def deleted(self, backups: Iterable[str]) -> None:
        """Record that a node has deleted the data of removed backups."""

    def forget_entity(self, entity: str) -> None:
        """Delete the record and the history of an entity without data."""


class NewDestinationLocation(NamedTuple):
    """The new location of a destination: the settings that change, and its nodes."""

    destination: str
    settings: JsonObject
    node: str | None
    nodes: list[str]


class DestinationChanges(Protocol):
    """Changes of backup destinations."""

    def initialised(self, destination: str, repository: str) -> None:
        """Record the repository of a destination.

        Raises Conflict if another destination has this repository.
        """

    def moved(self, place: NewDestinationLocation, repository: str, *, by: str) -> None:
        """Record that a destination has another location, which the task `by` has checked.

        Raises Conflict for another repository, and while another task runs on the destination.
        """

    def probed(self, destination: str, seen: StoreProbe) -> None: ...

    def space(self, destination: str, total: int | None, free: int | None) -> None:
        """Record the space of a destination in bytes; None leaves the old value."""

    def stored(self, destination: str, stored: int) -> None:
        """Add the bytes of a new backup to the size of the repository."""

    def measured(self, destination: str, usage: SpaceUsage) -> None:
        """Record the space by machine that a clean-up counted."""


class InventoryChanges(Protocol):
    """Changes of hypervisors and machines by inventory scans and restores."""

    def scanned(
        self,
        hypervisor: str,
        machines: Iterable[Entity],
        *,
        complete_since: int | None,
        by: str = "",
        unreadable: Sequence[UnreadableMachine] = (),
    ) -> None:
        """Insert or update machines by platform uuid.

        `complete_since` is the start (epoch ms) of a full scan, None for a scan of a few machines.
        Machines not seen since `complete_since`, and machines with `present` false, are evaluated
        by `presence.judge`; `by` is the workflow of the scan. `unreadable` machines exist on the
        platform, so their records stay and an alarm reports the problem.
        """

    def machines_gone(self, hypervisor: str, uuids: Iterable[str], look: HypervisorScan) -> None:
        """Decide whether machines that a partial inventory scan did not find are absent; see
        `presence.judge`.
        """

    def reunited(self, hypervisor: str) -> None:
        """Keep the identity of machines that moved between hosts of a hypervisor manager."""

    def surrounded(
        self,
        hypervisor: str,
        networks: list[PlatformResource] | None,
        pools: list[PlatformResource] | None,
    ) -> None:
        """Record a platform's networks and storage pools; None: the list is unknown."""

    def lives_on(self, entity: str, hypervisor: str) -> None:
        """Move a machine's record to another hypervisor; the machine keeps its guid."""

    def save_hypervisor(self, record: Hypervisor) -> None:
        """Store a hypervisor after its first successful scan; a name in use gets a number."""


class SnapshotChanges(Protocol):
    """Changes of the snapshots on platforms."""

    def taken(self, taken: PlatformSnapshot) -> None:
        """Record a snapshot on the platform.  Idempotent."""

    def gone(self, entity: str, names: Iterable[str]) -> None:
        """Record that the platform no longer holds these snapshots."""

    def seen(
        self, hypervisor: str, machines: Mapping[str, Mapping[str, int]], *, since: int
    ) -> None:
        """Record the snapshots of an inventory scan that began at `since` (epoch ms).

        `machines` maps machine uuids to snapshot names and times (epoch ms).  Snapshots that a
        Haulback attempt left behind are not recorded; the next clean-up removes these snapshots.
        """

    def left(
        self, node: str, found: Mapping[str, Mapping[str, Mapping[str, int]]], *, since: int
    ) -> None:
        """Record the snapshots on a node's hypervisors, by hypervisor guid."""


class MountChanges(Protocol):
    """Changes of mounted backups."""

    def mounted(self, mount: str, found: JsonObject, volumes: list[BackupVolume]) -> None:
        """Record that a node has mounted a backup, with the file systems shown."""

    def moved(self, mount: str, state: str) -> None:
        """Record the end of a mount: UNMOUNTED, or FAILED for a mount that never was mounted."""

    def until(self, mount: str, moment: int, *, if_due: bool = False) -> None:
        """Set the unmount time (epoch ms); with `if_due` only if the old time has passed."""

    def runs_from(self, mount: str, hypervisor: str, machine: str) -> None:
        """Record that a machine (uuid on its platform) runs from a mount."""


class RestoreChanges(Protocol):
    """Changes of restore jobs."""

    def moved(self, job: str, status: str, info: str | None, task: Task) -> None:
        """Set the status of a restore job."""


class AlarmChanges(Protocol):
    """Alarms raised and cleared."""

    def report(self, kind: AlarmKind, subject: Named, text: str, details: JsonObject) -> None:
        """Raise an alarm, or update text and details of the open alarm, which keeps its age.

        An alarm about a subject that no longer exists is not raised.
        """

    def clear(self, kind: AlarmKind, subject: str) -> None:
        """End the alarm of this kind about a subject's guid, if there is one."""


class DamageChanges(Protocol):
    """Damage reports, and the lists of backups that a task must find."""

    def expect(self, task: str, destination: str, *, forgotten: bool = True) -> None:
        """Store the list of backups on a destination that a task must find.

        Without `forgotten`, the list leaves out missing backups that a user has given up.
        """

    def expected_over(self, task: str) -> None:
        """Delete the list of backups that a task had to find, at the task's end."""

    def verified_share(
        self, destination: str, cursor: str, *, since: int, is_round: bool, looked: str = ""
    ) -> None:
        """Record how far a destination is verified: up to the pack `cursor`, or to the last pack.

        `since` (epoch ms) is the start of the task.  After a complete round the backups that were
        stored before it count as verified. `looked` is the backup after which the next task starts
        to read maps; "" if all maps were read in time.
        """

    def compared(
        self, destination: str, unknown: int, first: Sequence[UnknownBackup], *, since: int
    ) -> None:
        """Record that a task compared the catalogue with a destination.

        `unknown` is the number of backups on the destination that the catalogue does not know,
        `first` lists some of them; `since` (epoch ms) is the start of the task.
        """

    def catalogue_read(self, destination: str, extract_time: int, *, since: int) -> None:
        """Record that a task added all backups of a destination to the catalogue.

        `extract_time` is the time of the newest extract, `since` the start of the task (epoch ms).
        """

    def verify_ended(self, destination: str) -> None: ...

    def cleanup_blocked(self, task: Task, why: str) -> None:
        """Raise an alarm that a clean-up deleted no data, with the bytes that wait for deletion."""

    def found_again(self, task: Task) -> None:
        """Record that a clean-up found all expected backups: MISSING backups become PRESENT."""

    def healed(self, task: Task, backup: str, *, is_whole: bool) -> None:
        """Record an attempt to heal a damaged or missing location, and whether it has all data
        now.
        """

    def lost_for_good(self, backups: Iterable[str]) -> None:
        """Record the loss of backups that a clean-up no longer expects after a user's
        confirmation.
        """


class Ledger(Protocol):
    """Record changes at the start and the end of a task, in the transaction of the state change.

    `now` is the server's time in epoch milliseconds.
    """

    now: int

    @property
    def backups(self) -> BackupChanges: ...

    @property
    def proofs(self) -> ProofChanges: ...

    @property
    def bases(self) -> BaseChanges: ...

    @property
    def removals(self) -> RemovalChanges: ...

    @property
    def destinations(self) -> DestinationChanges: ...

    @property
    def inventory(self) -> InventoryChanges: ...

    @property
    def snapshots(self) -> SnapshotChanges: ...

    @property
    def mounts(self) -> MountChanges: ...

    @property
    def restores(self) -> RestoreChanges: ...

    @property
    def alarms(self) -> AlarmChanges: ...

    @property
    def damage(self) -> DamageChanges: ...
