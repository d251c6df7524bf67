"""Configuration records: policies, rules, schedules, recovery plans, projects, networks."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.tasks.states import Allocation, BackupType
from haulback.wire import Ref, Word


class Base(msgspec.Struct, kw_only=True):
    """Members of every record; `project` "" means no project.

    An absent `project` keeps the old project, or takes the caller's project for a new record.
    """

    name: str
    project: str | None = None


class NodeConfig(Base, kw_only=True):
    """Node configuration: concurrency limits and start windows.

    `limits` by lane (`export`, `export.source`, `store.destination`), `windows` in ms by task type.
    """

    limits: dict[str, int] = {}
    windows: dict[str, int] = {}


class Manager(Base, kw_only=True):
    """A hypervisor manager."""

    url: str = ""
    type: Word = Word("")


class Managed(Base, kw_only=True):
    """A record that belongs to a hypervisor manager."""

    uuid: str = ""
    hypervisorManager: Ref | None = None


class Storage(Managed, kw_only=True):
    """A hypervisor storage; spaces in bytes."""

    clusters: list[Ref] = []
    totalAvailableSpace: int | None = None
    totalUsedSpace: int | None = None


class Project(Base, kw_only=True):
    """A tenant; the query parameter `project-uuid` names the tenant's uuid."""

    uuid: str


class AutoAssign(Enum):
    """Automatic assignment of machines to a policy."""

    DISABLED = "DISABLED"
    ASSIGN_ONLY = "ASSIGN_ONLY"
    ASSIGN_AND_REMOVE = "ASSIGN_AND_REMOVE"


class Policy(Base, kw_only=True):
    """A backup policy; failure thresholds in percent of a run's tasks."""

    active: bool = True
    priority: int = 50
    description: str = ""
    backupRetryCount: int = 0
    autoAssignMode: AutoAssign = AutoAssign.DISABLED
    failRemainingBackupTasksExportThreshold: float | None = None
    failRemainingBackupTasksStoreThreshold: float | None = None


class Selection(Enum):
    """The backup that a recovery plan restores."""

    LAST_SUCCESSFUL = "LAST_SUCCESSFUL"
    ANY = "ANY"


class RecoveryRule(msgspec.Struct, kw_only=True):
    """A rule of a recovery plan: machines, restore target, order and options.

    Rules with a lower `order` start first.  `prefix` and `suffix` are added to the machine names.
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
    """A recovery plan: rules in their order."""

    active: bool = True
    priority: int = 50
    rules: list[RecoveryRule] = []


class Role(Enum):
    """Role of a destination in a rule."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    ARCHIVE = "ARCHIVE"


class RuleDestination(msgspec.Struct, kw_only=True):
    """A backup destination of a rule."""

    backupDestination: Ref
    roleType: Role = Role.PRIMARY


class Rule(Base, kw_only=True):
    """A rule of a backup policy."""

    policy: Ref | None = None
    active: bool = True
    ruleBackupDestinations: list[RuleDestination] = []


class SnapshotRule(Base, kw_only=True):
    """A rule of a snapshot policy: limits for the number and the age of snapshots.

    A snapshot over either limit is removed.  An absent limit removes no snapshot.
    """

    policy: Ref | None = None
    active: bool = True
    retentionVersions: int | None = None
    retentionDays: int | None = None


class Execution(Enum):
    """Trigger type of a schedule."""

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
    """Purpose of a schedule."""

    APP_BACKUP = "APP_BACKUP"
    CLOUD_BACKUP = "CLOUD_BACKUP"
    OS_BACKUP = "OS_BACKUP"
    STORAGE_BACKUP = "STORAGE_BACKUP"
    STORAGE_SNAPSHOT = "STORAGE_SNAPSHOT"
    VM_BACKUP = "VM_BACKUP"
    VM_RESTORE = "VM_RESTORE"
    VM_SNAPSHOT = "VM_SNAPSHOT"


class Schedule(Base, kw_only=True):
    """A schedule; `hour` in ms after midnight UTC, `startWindowLength` in ms."""

    type: Sort = Sort.VM_BACKUP
    active: bool = True
    backupType: BackupType = BackupType.FULL
    executionType: Execution = Execution.TIME
    hour: int | None = None
    daysOfWeek: list[Day] = []
    interval: dict[str, int] | None = None
    startWindowLength: int | None = None
    rules: list[Ref] = []
