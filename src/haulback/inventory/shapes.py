"""What there is and what is kept, as the API answers it.  What is absent is left out, never null.

Times are epoch milliseconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.inventory.damage import Verification
from haulback.inventory.records import Disk
from haulback.inventory.retention import Retention
from haulback.tasks.shapes import TaskDetails, TaskListRecord
from haulback.wire import Label, Named


class Space(msgspec.Struct):
    """Bytes of the staging area."""

    totalSpace: int
    usedSpace: int


class NodeRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A node; `token` is shown once, when it is made."""

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
    """A token."""

    token: str


class HypervisorRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A hypervisor.  `notBelievedSince` (epoch ms): looks miss more machines than is believed."""

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

    `verifiedTime` (epoch ms) is the end of the last round in which every stored byte was read.
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


class Machine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A virtual machine.  `backupUpToDate` is absent where no schedule applies.

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
    restoreStatus: str
    restorable: bool
    tags: list[str]
    disks: list[Disk]
    networkInterfaceCards: list[dict[str, Any]] = []
    absentSince: int | None = None
    problem: str | None = None
    notBackedUp: list[dict[str, str]] = []
    hvManager: Named | None = None
    hvCluster: Named | None = None
    project: str | None = None
    vmBackupPolicy: Named | None = None
    snapshotMgmtPolicy: Named | None = None
    backupUpToDate: bool | None = None
    lastBackup: int | None = None
    lastSuccessfulBackupSize: int | None = None
    lastSuccessfulFullBackup: Named | None = None
    lastSuccessfulFullBackupSize: int | None = None
    lastSuccessfulIncBackup: Named | None = None
    lastSuccessfulIncBackupSize: int | None = None
    settings: dict[str, Any] | None = None


class DiskRecord(msgspec.Struct, kw_only=True):
    """A disk, size in bytes."""

    guid: str
    name: str
    uuid: str
    size: int
    present: bool
    supported: bool
    type: Label
    excludedFromBackup: bool


class Reason(msgspec.Struct):
    """Why no increment can be made."""

    name: str
    description: str


class NotIncremental(msgspec.Struct):
    """A machine that can only be backed up in full, and why."""

    virtualMachine: Machine
    reasons: list[Reason]


class Location(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The place of a copy of a backup; `damage` as the catalogue keeps it (`damage.Damage`)."""

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
    hidden: bool = False
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
    """What has proved that a backup comes up.

    `evidence` is the very text that is signed (JSON); `signature` and `publicKey` are Ed25519 in
    base64, `valid` says whether this server signed it.
    """

    level: Label
    time: int
    evidence: str
    signature: str
    publicKey: str
    valid: bool


class File(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A disk of a backup, as a file to restore."""

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


class Job(msgspec.Struct, omit_defaults=True, kw_only=True):
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


class Execution(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A plan and how far it is; progress in percent, times in epoch ms."""

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
    """One thing that portals ask for by name."""

    name: str


class UserSettings(msgspec.Struct):
    """What portals want to know of a user."""

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
    """A role and what it is for."""

    name: str
    description: str


class Token(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An API token; `token` itself is shown once."""

    guid: str
    name: str
    user: str
    roles: list[str]
    created: int
    expires: int | None = None
    projects: list[str] | None = None
    token: str | None = None


class Protection(msgspec.Struct):
    """How many machines are protected, are not, and have no policy."""

    protectedNo: int
    notProtected: int
    noSchedule: int


class BackupStats(msgspec.Struct):
    """Backups of the last day, and bytes stored in words."""

    successful: int
    failed: int
    inProgress: int
    queued: int
    totalData: str


class StagingSpace(msgspec.Struct):
    """Bytes of a node's staging area."""

    node: Named
    totalSpace: int
    availableSpace: int
    usedSpace: int


class DestinationSpace(msgspec.Struct, kw_only=True):
    """Bytes of one destination."""

    guid: str
    name: str
    totalUsedSpace: int
    totalAvailableSpace: int


class DestinationStats(msgspec.Struct, kw_only=True):
    """Bytes of all destinations."""

    totalUsedSpace: int
    totalAvailableSpace: int
    backupDestinations: list[DestinationSpace]


class SizeStats(msgspec.Struct, kw_only=True):
    """Bytes by day (epoch ms of its beginning, UTC)."""

    backupSizeStatsResponses: dict[str, int]
    restoreSizeStatsResponses: dict[str, int]


class AuditEntry(msgspec.Struct, omit_defaults=True):
    """One write: who (`caller`, `login`), what, when (epoch ms), and what it changed."""

    number: int
    time: int
    caller: str
    login: str
    operation: str
    subject: str | None = None
    before: Any = None
    after: Any = None
