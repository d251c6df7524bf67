"""Requests of /policies and /rules: backup policies, snapshot policies and their rules."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.contract.machines import VirtualMachine
from haulback.contract.records import PolicyRecord
from haulback.contract.retention import RuleRetention
from haulback.wire import Choice, Ref


class ProtectedEntities(msgspec.Struct):
    """References to protected entities."""

    protectedEntities: list[Ref]


class AutoAssign(Enum):
    """Automatic assignment of machines to a policy."""

    DISABLED = "DISABLED"
    ASSIGN_ONLY = "ASSIGN_ONLY"
    ASSIGN_AND_REMOVE = "ASSIGN_AND_REMOVE"


class AutoAssignSettings(msgspec.Struct, kw_only=True):
    """Conditions of the machines that a policy is assigned to automatically.

    An expression has the syntax of RE2, and must match the beginning of a name. Exclude conditions
    win; any include tag or expression includes a machine; where `hvClusters` are named, the machine
    must belong to one of them.
    """

    mode: AutoAssign | None = None
    includeTags: list[str] = []
    excludeTags: list[str] = []
    includeRegExps: list[str] = []
    excludeRegExps: list[str] = []
    hvClusters: list[Ref] = []


class AnyPolicy(PolicyRecord, kw_only=True):
    """Members of backup and snapshot policies; thresholds in percent of a run's tasks.

    `vms` are all machines of the policy; without it the machines of the policy stay.  The mode of
    `autoAssignSettings` and `autoAssignMode` are the same setting: if they differ, the changed
    value counts.
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


class AssignmentPreview(msgspec.Struct):
    """Machines that auto-assignment would add to a policy, and machines that it would remove."""

    assigned: list[VirtualMachine]
    removed: list[VirtualMachine]


class DestinationRole(Enum):
    """Role of a destination in a rule."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    ARCHIVE = "ARCHIVE"


class RuleDestination(msgspec.Struct, kw_only=True):
    """A destination of a rule; a SECONDARY or ARCHIVE without a destination makes no copy."""

    backupDestination: Choice
    roleType: DestinationRole = DestinationRole.PRIMARY
    daysToKeepRetentionLock: int | None = None
    backupRetentionSettings: RuleRetention | None = None


class Rule(PolicyRecord, kw_only=True):
    """A rule of a backup policy; `schedules` absent: the schedules of the rule stay."""

    name: str = "Default"
    policy: Ref | None = None
    active: bool = True
    position: int | None = None
    schedules: list[Ref] | None = None
    ruleBackupDestinations: list[RuleDestination] = []


class SnapshotRule(PolicyRecord, kw_only=True):
    """A rule of a snapshot policy; absent counts and ages are no limit.

    Snapshots over `retentionVersions`, or older than `retentionDays`, are removed.  `schedules`
    absent: the schedules of the rule stay.
    """

    name: str = "Default"
    policy: Ref | None = None
    active: bool = True
    position: int | None = None
    schedules: list[Ref] | None = None
    retentionVersions: int | None = None
    retentionDays: int | None = None


class Policy(AnyPolicy, kw_only=True):
    """A backup policy; `rules` replace the rules of the policy, absent: the rules stay.

    `rpo` is the largest age in ms of the last good backup of a machine; the default is the largest
    gap between the times of the policy's schedules, plus the start window.
    """

    rpo: int | None = None
    rules: list[Rule] | None = None


class SnapshotPolicy(AnyPolicy, kw_only=True):
    """A snapshot policy; `rules` replace the rules of the policy, absent: the rules stay."""

    rules: list[SnapshotRule] | None = None
