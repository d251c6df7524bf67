"""Inventory and backup answers of the API; absent members are left out, never null.

Times are epoch milliseconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.inventory.damage import Verification
from haulback.inventory.records import VirtualDisk
from haulback.inventory.retention import Retention
from haulback.tasks.responses import TaskDetails, TaskListRecord
from haulback.wire import Label, Named


class Space(msgspec.Struct):
    """Space of the staging area, bytes."""

    totalSpace: int
    usedSpace: int


class NodeRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A node; `token` is shown once, in the answer that creates the node."""

    guid: str
    name: str
    version: str
    state: Label
    stagingSpace: Space
    restoreRoots: list[str]
    protocol: int
    lastSeen: int | None = None
    nodeConfig: Named | None = None
    token: str | None = None


class Invitation(msgspec.Struct):
    """An enrolment token of a node."""

    token: str


class HypervisorRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A hypervisor.

    `notBelievedSince` (epoch ms) is set while scans miss more machines than is credible.
    """

    guid: str
    name: str
    host: str
    type: Label
    driver: str
    path: str
    licenseCovered: bool
    vmCount: int
    user: str
    url: str | None = None
    node: Named | None = None
    cluster: Named | None = None
    hypervisorManager: Named | None = None
    storageId: str | None = None
    notBelievedSince: int | None = None
    task: TaskDetails | None = None


class DestinationRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A backup destination; spaces in bytes.

    `verifiedTime` (epoch ms) is the end of the last verification round that read every stored byte.
    """

    guid: str
    name: str
    type: Label
    driver: str
    path: str
    initialized: bool
    retention: Retention
    verification: Verification = msgspec.field(default_factory=Verification)
    verifiedTime: int | None = None
    node: Named | None = None
    totalUsedSpace: int | None = None
    totalAvailableSpace: int | None = None
    task: TaskDetails | None = None


class ManagerOf(msgspec.Struct):
    """The manager of a machine's hypervisor."""

    guid: str
    name: str
    url: str
    type: Label


class VirtualMachine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A virtual machine; `backupUpToDate` is absent where no schedule applies.

    It is true where the last backup is at most 24 hours old.  `project.guid` is that of the
    project's record where there is one, else what `project-uuid` names.

    `absentSince` (epoch ms) is the first look that missed it; `present` ends when that is
    believed.  `problem` says why its platform cannot read it.
    `notBackedUp` lists the parts that no backup holds, each with `name` and `reason`.
    """

    guid: str
    name: str
    uuid: str
    present: bool
    type: Label
    hypervisor: Named
    hvType: Label
    hvmType: Label
    restoreStatus: str
    restorable: bool
    tags: list[str]
    disks: list[VirtualDisk]
    networkInterfaceCards: list[dict[str, Any]] = []
    absentSince: int | None = None
    problem: str | None = None
    notBackedUp: list[dict[str, str]] = []
    hvManager: ManagerOf
    hvCluster: Named
    project: Named | None = None
    vmBackupPolicy: Named | None = None
    snapshotMgmtPolicy: Named | None = None
    backupUpToDate: bool | None = None
    lastBackup: int | None = None
    lastSuccessfulBackupSize: int | None = None
    lastSuccessfulFullBackup: Named | None = None
    lastSuccessfulFullBackupSize: int | None = None
    lastSuccessfulIncBackup: Named | None = None
    lastSuccessfulIncBackupSize: int | None = None
    lastStoredSnapshot: Named | None = None
    settings: dict[str, Any] | None = None


class DiskRecord(msgspec.Struct, kw_only=True):
    """A disk; size in bytes."""

    guid: str
    name: str
    uuid: str
    size: int
    present: bool
    supported: bool
    type: Label
    excludedFromBackup: bool


class Reason(msgspec.Struct):
    """A reason why no incremental backup can be made."""

    name: str
    description: str


class NotIncremental(msgspec.Struct):
    """A machine that can only be backed up in full, with the reasons."""

    virtualMachine: VirtualMachine
    reasons: list[Reason]


class Location(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A location of a backup on a destination; `damage` as in `damage.Damage`."""

    guid: str
    backup: Named
    backupDestination: Named
    roleType: Label
    status: Label
    retentionHint: Label
    type: Label
    snapshotTime: int | None = None
    archiveExpire: int | None = None
    statusInfo: str | None = None
    damage: dict[str, Any] | None = None


class MarkPreview(Location, omit_defaults=True, kw_only=True):
    """A location as it would be once it is marked, and as it is.

    `toBeRemoved`: the next clean-up of its destination would remove the backup.
    """

    previousHint: Label
    previousType: Label
    toBeRemoved: bool
    previousArchiveExpire: int | None = None


class BackupRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A backup; times in epoch ms, sizes in bytes."""

    guid: str
    name: str
    protectedEntity: Named
    type: Label
    status: Label
    backupTime: int
    size: int
    transferredSize: int
    storedSize: int
    hidden: bool
    warnings: list[str]
    warningsPresent: bool
    warningsAcknowledged: bool
    backupLocations: list[Location]
    taskTimeStats: dict[str, int]
    iscsiMountable: bool
    networkInterfaceCards: list[dict[str, Any]]
    statusInfo: str | None = None
    snapshotTime: int | None = None
    taskDurationTime: int | None = None
    description: str | None = None
    parentBackup: Named | None = None
    originEntity: dict[str, Any] | None = None
    backupRule: Named | None = None
    archiveExpire: int | None = None
    level: Label
    consistency: Label | None = None


class Proof(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The proof that a backup boots.

    `evidence` is the signed text (JSON); `signature` and `publicKey` are Ed25519 in base64; `valid`
    tells whether this server signed the evidence.
    """

    level: Label
    time: int
    evidence: str
    signature: str
    publicKey: str
    valid: bool


class File(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A restorable file of a backup: one disk.  `size` in bytes, `backupTime` in epoch ms."""

    guid: str
    path: str
    originalPath: str
    objectName: str
    size: int
    mountable: bool
    iscsiMountable: bool
    encryption: int
    backup: Named
    backupFileType: Label
    format: Label
    locations: list[Named]
    vmDisk: dict[str, Any]
    backupTime: int | None = None
    storageId: str | None = None


class RestoreJobRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A restore job; times in epoch ms."""

    guid: str
    restoreTime: int
    restoreType: Label
    status: Label
    protectedEntity: Named
    backup: dict[str, Any]
    taskTimeStats: dict[str, int]
    statusInfo: str | None = None
    finishTime: int | None = None
    target: dict[str, Any] | None = None


class WorkflowExecution(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A workflow and its progress in percent; times in epoch ms."""

    guid: str
    state: Label
    definitionName: Label
    averageProgress: float
    currentStep: Label
    priority: int
    backupDestinations: list[Named]
    creationTime: int
    protectedEntity: Named | None = None
    originEntity: Named | None = None
    startTime: int | None = None
    finishTime: int | None = None
    statusInfo: str | None = None
    tasks: list[TaskListRecord] | None = None


class Privilege(msgspec.Struct):
    """A privilege of a user, by name."""

    name: str


class UserSettings(msgspec.Struct):
    """Settings of a user for portals."""

    unmountPeriodForMountedBackups: int


class User(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A user."""

    guid: str
    login: str
    name: str
    roles: list[str]
    privileges: list[Privilege]
    uiTimeZone: str
    appUserSettings: UserSettings
    projects: list[str] | None = None


class Role(msgspec.Struct):
    """A role and its purpose."""

    name: str
    description: str


class Token(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An API token; `token` is shown once.  Times in epoch ms."""

    guid: str
    name: str
    user: str
    roles: list[str]
    created: int
    expires: int | None = None
    projects: list[str] | None = None
    token: str | None = None


class Protection(msgspec.Struct):
    """How many present machines are protected, are not, and have no schedule; no one counts twice.

    Protected: the last backup is at most 24 hours old, or no schedule asks for a newer one.
    `noSchedule`: no schedule applies, and there is no backup.
    """

    protectedNo: int
    notProtected: int
    noSchedule: int


class BackupStats(msgspec.Struct):
    """Backups of the last day by state; `totalData` is the stored data as text with its unit."""

    successful: int
    failed: int
    inProgress: int
    queued: int
    totalData: str


class StagingSpace(msgspec.Struct):
    """Space of a node's staging area, bytes."""

    node: Named
    totalSpace: int
    availableSpace: int
    usedSpace: int


class DestinationSpace(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Bytes of one destination.

    `totalUsedSpace` is what the repository's backups take, `totalAvailableSpace` its capacity:
    that and what is free on the disk, where a node has seen the disk.  The disk holds other
    things besides: `diskUsedSpace` of `diskTotalSpace`.
    """

    guid: str
    name: str
    totalUsedSpace: int
    totalAvailableSpace: int
    diskTotalSpace: int | None = None
    diskUsedSpace: int | None = None


class DestinationStats(msgspec.Struct, kw_only=True):
    """Bytes of all destinations, used and capacity."""

    totalUsedSpace: int
    totalAvailableSpace: int
    backupDestinations: list[DestinationSpace]


class SizeStats(msgspec.Struct, kw_only=True):
    """Bytes by day (epoch ms of its beginning, UTC), every day of the span, the oldest first."""

    backupSizeStatsResponses: dict[str, int]
    restoreSizeStatsResponses: dict[str, int]


class AuditEntry(msgspec.Struct, omit_defaults=True):
    """An audit entry: caller, operation, time (epoch ms), subject, and values before and after."""

    number: int
    time: int
    caller: str
    login: str
    operation: str
    subject: str | None = None
    before: Any = None
    after: Any = None
