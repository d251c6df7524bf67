"""Requests and answers of /dashboard/report and /chargeback-reporting."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.wire import Label, Named, Ref, Word


class GroupBy(Enum):
    """The kind of object by which a table of sizes is grouped."""

    BACKUP_DESTINATION = "backup-destination"
    BACKUP_POLICY = "backup-policy"
    HYPERVISOR = "hypervisor"
    HYPERVISOR_CLUSTER = "hypervisor-cluster"
    HYPERVISOR_MANAGER = "hypervisor-manager"
    PROJECT = "project"
    VIRTUAL_MACHINE = "virtual-machine"


class Measure(Enum):
    """The size that a table adds for each backup: its own, or the bytes that were read from its
    machine.

    An increment counts with the size of its changes.  Failed backups have no size of their own, but
    bytes read.
    """

    BACKUP_SIZE = "backupSize"
    TRANSFER_SIZE = "transferSize"


class SizeFilter(msgspec.Struct, kw_only=True):
    """The groups of a table of sizes, and the backups that it counts.

    `groupBy` is a value of `GroupBy`, in any case; absent: virtual-machine.  An empty list chooses
    all backups, several lists choose the backups that are in each of them.
    """

    groupBy: Word | None = None
    backupDestinationGuids: list[Ref] = []
    backupPolicyGuids: list[Ref] = []
    hypervisorClusterGuids: list[Ref] = []
    hypervisorGuids: list[Ref] = []
    hypervisorManagerGuids: list[Ref] = []
    projectGuids: list[str] = []
    virtualMachineGuids: list[Ref] = []


class ReportRequest(msgspec.Struct, kw_only=True):
    """The tables of sizes of a report.

    `value` names the recipients of a mail: mail addresses separated by commas, or a mailing list by
    name or guid; "" and "recipient" stand for the default lists.
    """

    backupSize: SizeFilter | None = None
    transferSize: SizeFilter | None = None
    value: str = ""


class GroupSize(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A group and its bytes; without `guid` the row is about no object, such as the remainder."""

    name: str
    size: int
    guid: str | None = None


class SizeTable(msgspec.Struct, kw_only=True):
    """Bytes by group, the largest group first; `total` covers all groups."""

    groupBy: Label
    total: int
    groups: list[GroupSize]


class MachineCounts(msgspec.Struct, kw_only=True):
    """The present numbers of machines by protection; each machine is counted once.

    An absent machine counts while a policy governs the machine.
    """

    machines: int = 0
    protected: int = 0
    late: int = 0
    failing: int = 0
    never: int = 0
    unassigned: int = 0


class BackupCounts(msgspec.Struct, kw_only=True):
    """Backups that were made in the period of the report, by state; sizes in bytes.

    `removed` are successful backups that have been deleted since.  `backupSize` are the bytes of
    the successful backups, `transferSize` the bytes read from machines, `storedSize` the bytes that
    were written to destinations.
    """

    successful: int = 0
    failed: int = 0
    inProgress: int = 0
    queued: int = 0
    removed: int = 0
    backupSize: int = 0
    transferSize: int = 0
    storedSize: int = 0


class PolicyReport(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A policy with its runs, its machines and its backups.

    `guid` is absent in the row for backups without a policy, and in the row for the remaining
    policies.
    """

    name: str
    guid: str | None = None
    runs: int = 0
    machines: MachineCounts
    backups: BackupCounts


class FailedBackup(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A backup that failed, with its reason; `time` in epoch ms."""

    machine: str
    time: int
    reason: str
    policy: str | None = None


class LateMachine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A machine whose last good backup is too old or missing; `lastBackup` in epoch ms."""

    machine: str
    state: str
    lastBackup: int | None = None
    policy: str | None = None


class FailedBackups(msgspec.Struct, kw_only=True):
    """The newest failed backups, and the number of all failed backups."""

    total: int
    rows: list[FailedBackup]


class LateMachines(msgspec.Struct, kw_only=True):
    """The machines that are late, and the number of all late machines."""

    total: int
    rows: list[LateMachine]


class ReportedSpace(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The space of a destination, in bytes; `fullAt` (epoch ms) is the expected day on which the
    destination is full.

    `waits` is the reason why new backups wait.
    """

    backupDestination: Named
    held: int | None = None
    free: int | None = None
    growthPerDay: int | None = None
    fullAt: int | None = None
    waits: str | None = None


class Report(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A report on the backups between two moments, and on the present protection of machines; times
    in epoch ms.

    `title` names the policy of a daily report.
    """

    start: int = msgspec.field(name="from")
    end: int = msgspec.field(name="to")
    generated: int
    timeZone: str
    protectedEntityType: Label
    title: str = ""
    machines: MachineCounts
    backups: BackupCounts
    policies: list[PolicyReport]
    failures: FailedBackups
    late: LateMachines
    destinations: list[ReportedSpace] = []
    backupSize: SizeTable
    transferSize: SizeTable


class MailedReport(msgspec.Struct, kw_only=True):
    """A report that waits for its delivery; `guid` names its message in the delivery log.

    Without `recipients` the report goes to the recipients of the mail channel, or to the default
    lists.
    """

    guid: str
    title: str
    recipients: list[str]
