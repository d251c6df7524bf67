"""Requests and answers of /virtual-machines and of their disks.

Times are epoch milliseconds, sizes bytes.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.wire import JsonObject, Label, Named, Ref


class EntityType(Enum):
    """Types of protected entities."""

    APP = "APP"
    CLOUD = "CLOUD"
    CLOUD_GROUP = "CLOUD_GROUP"
    CLOUD_SITE = "CLOUD_SITE"
    CLOUD_TEAMS = "CLOUD_TEAMS"
    CLOUD_USER = "CLOUD_USER"
    OS = "OS"
    OS_AGENT = "OS_AGENT"
    STORAGE = "STORAGE"
    VM = "VM"


class VirtualDisk(msgspec.Struct):
    """A disk of an entity; size in bytes."""

    name: str
    size: int
    format: str = "raw"


class ManagerOf(msgspec.Struct):
    """The manager of a machine's hypervisor."""

    guid: str
    name: str
    url: str
    type: Label


class VirtualMachine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A virtual machine; `backupUpToDate` is absent without an RPO.

    `backupUpToDate` is true if the last good backup is within the RPO of the policy.
    `protectionState` is a state of GET /protection.  `project.guid` is the guid of the project's
    record, without a record the uuid that `project-uuid` names.

    `absentSince` (epoch ms) is the first scan that missed the machine; `present` becomes false when
    a later scan or a user confirms the loss.  `problem` is the reason why the platform cannot read
    the machine. `notBackedUp` lists the parts that no backup contains, each with `name` and
    `reason`.
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
    networkInterfaceCards: list[JsonObject] = []
    absentSince: int | None = None
    problem: str | None = None
    notBackedUp: list[dict[str, str]] = []
    hvManager: ManagerOf
    hvCluster: Named
    project: Named | None = None
    vmBackupPolicy: Named | None = None
    snapshotMgmtPolicy: Named | None = None
    backupUpToDate: bool | None = None
    protectionState: Label
    protectionSince: int | None = None
    lastBackup: int | None = None
    lastSuccessfulBackupSize: int | None = None
    lastSuccessfulFullBackup: Named | None = None
    lastSuccessfulFullBackupSize: int | None = None
    lastSuccessfulIncBackup: Named | None = None
    lastSuccessfulIncBackupSize: int | None = None
    lastStoredSnapshot: Named | None = None
    settings: JsonObject | None = None


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


class ProjectName(msgspec.Struct):
    """A project as the record of a machine names it."""

    guid: str


class MachineSettings(msgspec.Struct):
    """Settings of a machine; portals send the whole machine record back.

    `project` is the project's uuid, or an object with the guid of the project's record or its uuid
    as `guid`.  The commands run in a shell inside the machine, before and after the snapshot of a
    backup; "" removes a command.
    """

    vmBackupPolicy: Ref | None = None
    snapshotMgmtPolicy: Ref | None = None
    project: ProjectName | None = None
    preCommand: str | None = None
    postCommand: str | None = None


class DiskSettings(msgspec.Struct):
    """Settings of a disk."""

    excludedFromBackup: bool


class Entities(msgspec.Struct):
    """References to machines."""

    entities: list[Ref]
