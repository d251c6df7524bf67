"""Configuration records: policies, rules, schedules, recovery plans, projects, networks."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.tasks.states import Allocation, BackupType
from haulback.wire import Choice, Ref, Word


class PolicyRecord(msgspec.Struct, kw_only=True):
    """Members of every record; `project` "" means no project.

    An absent `project` keeps the old project, or takes the caller's project for a new record.
    """

    name: str
    project: str | None = None


class NodeConfig(PolicyRecord, kw_only=True):
    """Node configuration: concurrency limits and start windows.

    `limits` by lane (`export`, `export.source`, `store.destination`), `windows` in ms by task type.
    """

    limits: dict[str, int] = {}
    windows: dict[str, int] = {}


class Manager(PolicyRecord, kw_only=True):
    """A hypervisor manager."""

    url: str = ""
    type: Word = Word("")


class Managed(PolicyRecord, kw_only=True):
    """A record that belongs to a hypervisor manager."""

    uuid: str = ""
    hypervisorManager: Ref | None = None


class Storage(Managed, kw_only=True):
    """A hypervisor storage; spaces in bytes."""

    clusters: list[Ref] = []
    totalAvailableSpace: int | None = None
    totalUsedSpace: int | None = None


class Project(PolicyRecord, kw_only=True):
    """A tenant; the query parameter `project-uuid` names the tenant's uuid."""

    uuid: str


class AutoAssign(Enum):
    """Automatic assignment of machines to a policy."""

    DISABLED = "DISABLED"
    ASSIGN_ONLY = "ASSIGN_ONLY"
    ASSIGN_AND_REMOVE = "ASSIGN_AND_REMOVE"


class AutoAssignSettings(msgspec.Struct, kw_only=True):
    """Which machines a policy is to take by itself."""

    mode: AutoAssign = AutoAssign.DISABLED
    includeTags: list[str] = []
    excludeTags: list[str] = []
    includeRegExps: list[str] = []
    excludeRegExps: list[str] = []
    hvClusters: list[Ref] = []


class AnyPolicy(PolicyRecord, kw_only=True):
    """How machines are to be protected; thresholds in percent of a run's tasks.

    `vms` are all machines that have the policy; absent: they stay as they are.
    """

    active: bool = True
    priority: int = 50
    description: str = ""
    backupRetryCount: int = 0
    vms: list[Ref] | None = None
    autoAssignMode: AutoAssign | None = None
    autoAssignSettings: AutoAssignSettings | None = None
    executeAutoAssignmentAfterSavingPolicy: bool | None = None
    autoRemoveNonPresent: bool | None = None
    dailyReportEnabled: bool | None = None
    mailingList: Choice | None = None
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


class RecoveryPlan(PolicyRecord, kw_only=True):
    """A recovery plan: rules in their order."""

    active: bool = True
    priority: int = 50
    rules: list[RecoveryRule] = []


class DestinationRole(Enum):
    """Role of a destination in a rule."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    ARCHIVE = "ARCHIVE"


class RuleRetention(msgspec.Struct, kw_only=True):
    """How long a copy of a rule is to stay; ages in ms."""

    keepLastBackupWhenSourceStillExists: bool | None = None
    retentionKeepLastNFull: int | None = None
    retentionKeepFullNewerThan: int | None = None
    retentionKeepLastNIncremental: int | None = None
    retentionKeepIncrementalNewerThan: int | None = None


class RuleDestination(msgspec.Struct, kw_only=True):
    """Where a rule's backups go; a SECONDARY or ARCHIVE without a destination makes no copy."""

    backupDestination: Choice
    roleType: DestinationRole = DestinationRole.PRIMARY
    daysToKeepRetentionLock: int | None = None
    backupRetentionSettings: RuleRetention | None = None


class Rule(PolicyRecord, kw_only=True):
    """A rule of a backup policy.  `schedules` absent: those that fire it stay."""

    name: str = "Default"
    policy: Ref | None = None
    active: bool = True
    position: int | None = None
    schedules: list[Ref] | None = None
    ruleBackupDestinations: list[RuleDestination] = []


class SnapshotRule(PolicyRecord, kw_only=True):
    """A rule of a snapshot policy: what is over the number, or older, goes; absent: nothing.

    `schedules` absent: those that fire it stay.
    """

    name: str = "Default"
    policy: Ref | None = None
    active: bool = True
    position: int | None = None
    schedules: list[Ref] | None = None
    retentionVersions: int | None = None
    retentionDays: int | None = None


class Policy(AnyPolicy, kw_only=True):
    """A policy of backups.  `rules` take the place of those that it has; absent: they stay."""

    rules: list[Rule] | None = None


class SnapshotPolicy(AnyPolicy, kw_only=True):
    """A policy of snapshots.  `rules` take the place of those that it has; absent: they stay."""

    rules: list[SnapshotRule] | None = None


class ScheduleExecution(Enum):
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


class Month(Enum):
    """A month."""

    JANUARY = "JANUARY"
    FEBRUARY = "FEBRUARY"
    MARCH = "MARCH"
    APRIL = "APRIL"
    MAY = "MAY"
    JUNE = "JUNE"
    JULY = "JULY"
    AUGUST = "AUGUST"
    SEPTEMBER = "SEPTEMBER"
    OCTOBER = "OCTOBER"
    NOVEMBER = "NOVEMBER"
    DECEMBER = "DECEMBER"


class Occurrence(Enum):
    """Which of the same days of the week of a month."""

    FIRST_IN_MONTH = "FIRST_IN_MONTH"
    SECOND_IN_MONTH = "SECOND_IN_MONTH"
    THIRD_IN_MONTH = "THIRD_IN_MONTH"
    FOURTH_IN_MONTH = "FOURTH_IN_MONTH"
    LAST_IN_MONTH = "LAST_IN_MONTH"


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


class Schedule(PolicyRecord, kw_only=True):
    """When to back up; hours are ms from midnight UTC, the window's length in ms.

    No `months`, and no `dayOfWeekOccurrences`, stand for all.  `timeZone` is an IANA name.
    """

    type: Sort = Sort.VM_BACKUP
    active: bool = True
    backupType: BackupType = BackupType.FULL
    executionType: ScheduleExecution = ScheduleExecution.TIME
    hour: int | None = None
    daysOfWeek: list[Day] = []
    months: list[Month] = []
    dayOfWeekOccurrences: list[Occurrence] = []
    timeZone: str = "UTC"
    cron: str | None = None
    interval: dict[str, int] | None = None
    startWindowLength: int | None = None
    rules: list[Ref] = []
