"""Things people keep: policies, rules, schedules, networks and the like."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.tasks.states import Allocation, BackupType
from haulback.wire import Ref, Word


class Base(msgspec.Struct, kw_only=True):
    """What every record has; `project` "" for none, absent: as before, or the caller's own."""

    name: str
    project: str | None = None


class NodeConfig(Base, kw_only=True):
    """Limits by lane (`export`, `export.source`, `store.destination`), windows in ms by kind."""

    limits: dict[str, int] = {}
    windows: dict[str, int] = {}


class Manager(Base, kw_only=True):
    """A hypervisor manager."""

    url: str = ""
    type: Word = Word("")


class Managed(Base, kw_only=True):
    """Something of a hypervisor manager."""

    uuid: str = ""
    hypervisorManager: Ref | None = None


class Storage(Managed, kw_only=True):
    """A hypervisor storage, bytes."""

    clusters: list[Ref] = []
    totalAvailableSpace: int | None = None
    totalUsedSpace: int | None = None


class Project(Base, kw_only=True):
    """A tenant; its uuid is what `project-uuid` names."""

    uuid: str


class AutoAssign(Enum):
    """Whether a policy takes machines by itself."""

    DISABLED = "DISABLED"
    ASSIGN_ONLY = "ASSIGN_ONLY"
    ASSIGN_AND_REMOVE = "ASSIGN_AND_REMOVE"


class Policy(Base, kw_only=True):
    """How machines are to be backed up; thresholds in percent of a run's tasks."""

    active: bool = True
    priority: int = 50
    description: str = ""
    backupRetryCount: int = 0
    autoAssignMode: AutoAssign = AutoAssign.DISABLED
    failRemainingBackupTasksExportThreshold: float | None = None
    failRemainingBackupTasksStoreThreshold: float | None = None


class Selection(Enum):
    """Which backup of a machine a plan brings back."""

    LAST_SUCCESSFUL = "LAST_SUCCESSFUL"
    ANY = "ANY"


class RecoveryRule(msgspec.Struct, kw_only=True):
    """Which machines a plan brings back, where to, in which order, and how.

    Rules of a lower `order` start first.  `prefix` and `suffix` make the new names.
    """

    name: str
    protectedEntities: list[Ref]
    active: bool = True
    order: int = 0
    backupSelection: Selection = Selection.LAST_SUCCESSFUL
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    restoreStorageId: str | None = None
    restoreClusterId: str | None = None
    restoreProject: str | None = None
    restoredDiskAllocationFormat: Allocation | None = None
    overwrite: bool = False
    powerOnAfterRestore: bool = False
    prefix: str = ""
    suffix: str = ""


class RecoveryPlan(Base, kw_only=True):
    """What to bring back, where to and in which order."""

    active: bool = True
    priority: int = 50
    rules: list[RecoveryRule] = []


class Role(Enum):
    """What a destination is to a rule."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    ARCHIVE = "ARCHIVE"


class RuleDestination(msgspec.Struct, kw_only=True):
    """Where a rule's backups go."""

    backupDestination: Ref
    roleType: Role = Role.PRIMARY


class Rule(Base, kw_only=True):
    """A rule of a backup policy."""

    policy: Ref | None = None
    active: bool = True
    ruleBackupDestinations: list[RuleDestination] = []


class SnapshotRule(Base, kw_only=True):
    """A rule of a snapshot policy: what is over the number, or older, goes; absent: nothing."""

    policy: Ref | None = None
    active: bool = True
    retentionVersions: int | None = None
    retentionDays: int | None = None


class Execution(Enum):
    """When a schedule fires."""

    TIME = "TIME"
    INTERVAL = "INTERVAL"


class Day(Enum):
    """A day of the week."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


class Sort(Enum):
    """What a schedule is for."""

    APP_BACKUP = "APP_BACKUP"
    CLOUD_BACKUP = "CLOUD_BACKUP"
    OS_BACKUP = "OS_BACKUP"
    STORAGE_BACKUP = "STORAGE_BACKUP"
    STORAGE_SNAPSHOT = "STORAGE_SNAPSHOT"
    VM_BACKUP = "VM_BACKUP"
    VM_RESTORE = "VM_RESTORE"
    VM_SNAPSHOT = "VM_SNAPSHOT"


class Schedule(Base, kw_only=True):
    """When to back up; hours are ms from midnight UTC, the window's length in ms."""

    type: Sort = Sort.VM_BACKUP
    active: bool = True
    backupType: BackupType = BackupType.FULL
    executionType: Execution = Execution.TIME
    hour: int | None = None
    daysOfWeek: list[Day] = []
    interval: dict[str, int] | None = None
    startWindowLength: int | None = None
    rules: list[Ref] = []
