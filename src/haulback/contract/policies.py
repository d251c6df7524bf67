"""Requests of /policies and /rules: backup policies, snapshot policies and their rules."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.contract.records import PolicyRecord
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
