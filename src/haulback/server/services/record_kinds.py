"""Kinds of configuration records: the struct, the parent and the checks of each kind.

A new kind of record needs a struct, a line in `_ALL`, and a path in `http/configuration.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from haulback.contract.credentials import SECRETS, Credential
from haulback.contract.mailing_lists import MailingList
from haulback.contract.managers import ManagedRecord, Manager, Storage
from haulback.contract.nodes import NodeConfig
from haulback.contract.notifications import (
    CHANNEL_SECRETS,
    NotificationChannel,
    NotificationRule,
)
from haulback.contract.policies import (
    AnyPolicy,
    DestinationRole,
    Policy,
    Rule,
    RuleDestination,
    SnapshotPolicy,
    SnapshotRule,
)
from haulback.contract.projects import Project
from haulback.contract.records import PolicyRecord
from haulback.contract.recovery_plans import RecoveryPlan
from haulback.contract.schedules import Schedule
from haulback.contract.system_schedules import SystemSchedule
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.kinds.registry import KINDS
from haulback.policy import terms
from haulback.policy.assignment import Conditions
from haulback.server.key_vault import KeyVault
from haulback.server.services import credentials, mailing_lists, notifications
from haulback.server.services.schedule_checks import check_schedule
from haulback.tasks.scheduling import is_limit, limit_names
from haulback.texts import check_name

_LONGEST_WINDOW = 31 * 86_400_000
_SHORTEST_RPO, _LONGEST_RPO = 60_000, 3_650 * 86_400_000
Check = Callable[[Any, Catalogue], None]
# kinds whose name says less than their words
_WORDS = {"vm-backup": "backup policy", "vm-snapshot": "snapshot policy"}


class RecordKind(NamedTuple):
    """A kind of record: its name, its struct, and the member and kind of its parent.

    `check` raises Malformed or NotFound for a record that contradicts itself or the catalogue.
    `secrets` are write-only members: the database holds them sealed, and no answer contains them.
    `check_stored` raises Malformed for a record that lacks a secret.
    """

    name: str
    struct: type[PolicyRecord]
    parent: tuple[str, str] | None = None
    check: Check | None = None
    secrets: tuple[str, ...] = ()
    check_stored: Callable[[Record], None] | None = None

    @property
    def words(self) -> str:
        """The name of the kind in words, such as `backup policy`."""
        return _WORDS.get(self.name) or self.name.replace("-", " ")

    def sealed(self, vault: KeyVault, record: Record, before: Record | None) -> Record:
        """The record for the database, with sealed secrets.  Raises WrongKey, Malformed."""
        made = credentials.sealed(vault, record, before, self.secrets)
        if self.check_stored:
            self.check_stored(made)
        return made

    def check_record(self, wanted: PolicyRecord, known: Catalogue) -> None:
        """Check a record before it is stored.  Raises Malformed, NotFound, Forbidden."""
        check_name(wanted.name)
        if self.check:
            self.check(wanted, known)


def _check_config(wanted: NodeConfig, _: Catalogue) -> None:
    for name, count in wanted.limits.items():
        if not is_limit(name):
            raise Malformed(
                f"limits: {name[:40]!r} is not a lane; the lanes are {', '.join(limit_names())}",
                field="limits",
            )
        if not 1 <= count <= 100_000:
            raise Malformed(f"limits.{name}: send a number of at least 1", field=f"limits.{name}")
    for name, length in wanted.windows.items():
        if name not in KINDS:
            raise Malformed(f"windows: {name[:40]!r} is not a type of task", field="windows")
        if not 1000 <= length <= _LONGEST_WINDOW:
            raise Malformed(f"windows.{name}: send ms, at most 31 days", field=f"windows.{name}")


def _check_rule(wanted: Rule, known: Catalogue) -> None:
    field = "ruleBackupDestinations"
    for target in wanted.ruleBackupDestinations:
        _check_target(target, known)
    primary = [
        target.backupDestination.guid
        for target in wanted.ruleBackupDestinations
        if target.roleType is DestinationRole.PRIMARY
    ]
    if len(primary) > 1:
        raise Malformed(f"{field}: a rule has only one PRIMARY; send one", field=field)
    # A rule without any destination uses the only destination of the server.
    if wanted.ruleBackupDestinations and not any(primary):
        raise Malformed(f"{field}: choose a backup destination for PRIMARY", field=field)
    _check_apart([target.backupDestination.guid for target in wanted.ruleBackupDestinations], known)


def _check_target(target: RuleDestination, known: Catalogue) -> None:
    field = "ruleBackupDestinations"
    if target.backupDestination.guid:
        known.places.destination(target.backupDestination.guid)
    if settings := target.backupRetentionSettings:
        terms.check(settings, "backupRetentionSettings")
    days = target.daysToKeepRetentionLock
    if days is not None and not 0 <= days <= 36_500:
        raise Malformed(f"{field}: daysToKeepRetentionLock: 0 to 36500 days", field=field)


def _check_apart(guids: list[str | None], known: Catalogue) -> None:
    """Refuse a copy to the destination that has the backup, or another copy, already."""
    field = "ruleBackupDestinations"
    for place, guid in enumerate(guids):
        if guid and guid in guids[:place]:
            name = known.places.destination(guid).name
            raise Malformed(
                f"{field}: {name} is named twice; name another destination for the copy",
                field=field,
            )


def _check_snapshot_rule(wanted: SnapshotRule, _: Catalogue) -> None:
    for name, most in (("retentionVersions", 1000), ("retentionDays", 36_500)):
        value = getattr(wanted, name)
        if value is not None and not 1 <= value <= most:
            raise Malformed(f"{name}: send a number from 1 to {most}", field=name)


def _check_policy(wanted: AnyPolicy, known: Catalogue) -> None:
    mailing_lists.check_named(wanted, known)
    if wanted.autoAssignSettings:
        Conditions(wanted.autoAssignSettings)
        for ref in wanted.autoAssignSettings.hvClusters:
            known.records.get("hypervisor-cluster", ref.guid)
    for name in ("Export", "Store"):
        field = f"failRemainingBackupTasks{name}Threshold"
        value = getattr(wanted, field)
        if value is not None and not 0 <= value <= 100:
            raise Malformed(f"{field}: send a percentage from 0 to 100", field=field)
    rpo = wanted.rpo if isinstance(wanted, Policy) else None
    if rpo is not None and not _SHORTEST_RPO <= rpo <= _LONGEST_RPO:
        raise Malformed("rpo: send ms, from a minute to ten years", field="rpo")
    _check_snapshot_policy(wanted)
    _check_priority(wanted)


def _check_snapshot_policy(wanted: AnyPolicy) -> None:
    """Refuse members that affect backups only."""
    if not isinstance(wanted, SnapshotPolicy):
        return
    for name in (
        "dailyReportEnabled",
        "failRemainingBackupTasksExportThreshold",
        "failRemainingBackupTasksStoreThreshold",
    ):
        if getattr(wanted, name):
            raise Malformed(
                f"{name}: belongs to a backup policy; leave the member out of a snapshot policy",
                field=name,
            )


def _check_priority(wanted: AnyPolicy | RecoveryPlan) -> None:
    if not 0 <= wanted.backupRetryCount <= 100:
        raise Malformed("backupRetryCount: send a number from 0 to 100", field="backupRetryCount")
    if not 0 <= wanted.priority <= 100:
        raise Malformed("priority: send a number from 0 to 100", field="priority")


def _check_plan(wanted: RecoveryPlan, known: Catalogue) -> None:
    _check_priority(wanted)
    for rule in wanted.rules:
        known.machines.get_many([ref.guid for ref in rule.protectedEntities])
        if rule.hypervisor:
            known.places.hypervisor(rule.hypervisor.guid)


MANAGER = ("hypervisorManager", "hypervisor-manager")
_ALL = (
    RecordKind("node-config", NodeConfig, check=_check_config),
    RecordKind("hypervisor-manager", Manager),
    RecordKind("hypervisor-cluster", ManagedRecord, MANAGER),
    RecordKind("hypervisor-storage", Storage, MANAGER),
    RecordKind("network", ManagedRecord, MANAGER),
    RecordKind("flavor", ManagedRecord, MANAGER),
    RecordKind("project", Project),
    RecordKind("vm-backup", Policy, check=_check_policy),
    RecordKind("vm-snapshot", SnapshotPolicy, check=_check_policy),
    RecordKind("recovery-plan", RecoveryPlan, check=_check_plan),
    RecordKind("rule", Rule, ("policy", "vm-backup"), _check_rule),
    RecordKind(
        "snapshot-rule",
        SnapshotRule,
        ("policy", "vm-snapshot"),
        _check_snapshot_rule,
    ),
    RecordKind("schedule", Schedule, check=check_schedule),
    RecordKind("system-schedule", SystemSchedule),
    RecordKind("mailing-list", MailingList, check=mailing_lists.check),
    RecordKind("credential", Credential, check=credentials.check, secrets=SECRETS),
    RecordKind(
        notifications.CHANNEL,
        NotificationChannel,
        check=notifications.check_channel,
        secrets=CHANNEL_SECRETS,
        check_stored=notifications.check_stored,
    ),
    RecordKind(notifications.RULE, NotificationRule, check=notifications.check_rule),
)
RECORD_KINDS = {kind.name: kind for kind in _ALL}
