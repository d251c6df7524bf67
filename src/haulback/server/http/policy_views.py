"""Policies, rules and schedules as portals read them, with warnings about members without
effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import msgspec

from haulback.contract.retention import RuleRetention
from haulback.errors import NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.policy import terms
from haulback.server.services import notifications
from haulback.server.services.assignment import unreadable_conditions
from haulback.server.services.configuration import ConfigurationReading
from haulback.server.services.policies import OWNED, Member
from haulback.server.services.schedule_checks import rule_kind
from haulback.wire import JsonObject

_NOTHING: JsonObject = {"name": ""}
_WAITS = (
    "an earlier version stored the retention, which removes nothing before `haulback "
    "retention confirm`"
)
_NO_MAIL = "dailyReportEnabled sends nothing: there is no active notification channel of type MAIL"


_NO_DESTINATION = (
    "the rule names no backup destination, and its backups fail while the server has "
    "several destinations; choose a destination for PRIMARY"
)


class PolicyReferences:
    """The records that an answer refers to; each query runs once."""

    def __init__(self, reading: ConfigurationReading) -> None:
        self.known: Catalogue = reading.catalogue
        self._reading, self._scope = reading, reading.scope
        self._names: dict[tuple[str, str], str] = {}
        self._clocks: dict[str, JsonObject] = {}

    def name(self, kind: str, guid: str) -> str:
        """The name of a record, "" for a deleted record or a record hidden from the caller."""
        if (kind, guid) not in self._names:
            try:
                is_place = kind == "destination"
                result = (
                    self.known.places.destination(guid)
                    if is_place
                    else self.known.records.get(kind, guid)
                )
                self._names[kind, guid] = result.name
            except NotFound:
                self._names[kind, guid] = ""
        return self._names[kind, guid]

    def members(self, policy: Record) -> list[Member]:
        """The machines of a policy that the caller sees, ordered by name."""
        return self._reading.members(policy)

    def rpo(self, policy: Record) -> int | None:
        """The RPO of a backup policy in ms, as last computed; None without a limit."""
        return self._reading.rpo(policy.guid)

    def clock(self, schedule: str) -> JsonObject:
        """The members of a schedule that are derived from its times."""
        if schedule not in self._clocks:
            self._clocks[schedule] = self._reading.clock(schedule)
        return self._clocks[schedule]

    @cached_property
    def has_several_destinations(self) -> bool:
        """Whether a backup must name its destination."""
        return len(self.known.places.destinations()) > 1

    @cached_property
    def waiting_rules(self) -> frozenset[str]:
        """Rules whose retention waits for a confirmation."""
        return self._reading.waiting_rules()

    @cached_property
    def schedules(self) -> list[Record]:
        """All schedules that the caller sees, ordered by name."""
        return [
            record
            for record in self.known.records.of_kind("schedule")
            if self._scope.shares(record.project)
        ]

    @cached_property
    def has_mail_channel(self) -> bool:
        """Whether mails can be sent."""
        channels = self.known.records.of_kind(notifications.CHANNEL)
        return any(
            record.body.get("type") == "MAIL" and record.body.get("active", True)
            for record in channels
        )

    def schedules_of(self, rule: str) -> list[Record]:
        """The schedules that fire a rule."""
        return [one for one in self.schedules if rule in _rules_of(one)]


def policy(shown: JsonObject, record: Record, around: PolicyReferences) -> None:
    """Add the machines of a policy and their figures; `rules` are in the answer already."""
    members = around.members(record)
    sizes = [member.size for member in members if member.size is not None]
    shown["vms"] = [{"guid": member.guid, "name": member.name} for member in members]
    shown["vmCount"], shown["ruleCount"] = len(members), len(shown["rules"])
    shown["averageBackupSize"] = sum(sizes) // len(sizes) if sizes else 0
    settings = shown.get("autoAssignSettings", {})
    mode = settings.get("mode") or shown.get("autoAssignMode") or _DISABLED
    shown["autoAssignMode"] = mode
    shown.setdefault("autoAssignSettings", {"mode": mode, **_NO_CHOICE})
    _named(shown["autoAssignSettings"]["hvClusters"], "hypervisor-cluster", around)
    if (chosen := shown.get("mailingList")) and chosen.get("guid"):
        _named([chosen], "mailing-list", around)
    if record.kind == "vm-backup":
        shown["backupDestinations"] = _primaries(shown["rules"])
        rpo = around.rpo(record)
        shown |= {"effectiveRpo": rpo} if rpo is not None else {}
    shown["warnings"] = list(dict.fromkeys(_of_policy(shown, record, around)))


_DISABLED = {"name": "DISABLED", "description": "Disabled"}
_NO_CHOICE: dict[str, list[object]] = {
    name: []
    for name in ("includeTags", "excludeTags", "includeRegExps", "excludeRegExps", "hvClusters")
}


def recovery_plan(shown: JsonObject) -> None:
    """Add the figures of a recovery plan; `schedules` are in the answer already."""
    rules = shown.get("rules", [])
    shown["ruleCount"] = len(rules)
    shown["rulesVmCount"] = {
        rule["guid"]: len(rule["protectedEntities"]) for rule in rules if rule.get("guid")
    }
    shown["warnings"] = []


def rule(shown: JsonObject, record: Record, around: PolicyReferences) -> None:
    """Add the names of a rule's destinations; `schedules` are in the answer already."""
    shown["markedForDeletion"] = False
    for item in shown.get("ruleBackupDestinations", []):
        guid = item["backupDestination"].get("guid")
        named = {"guid": guid, "name": around.name("destination", guid)} if guid else _NOTHING
        item["backupDestination"] = dict(named)
        item.setdefault("backupRetentionSettings", {})
    if record.kind == "rule":
        shown["backupDestinations"] = []
    waits = [_WAITS] if record.guid in around.waiting_rules else []
    if record.kind == "rule" and not shown.get("ruleBackupDestinations"):
        waits += [_NO_DESTINATION] if around.has_several_destinations else []
    shown["warnings"] = list(dict.fromkeys([*waits, *_of_rule(shown)]))


def schedule(shown: JsonObject, record: Record, around: PolicyReferences) -> None:
    """Add the names of a schedule's rules, and its last and next run."""
    _named(shown.get("rules", []), rule_kind(record), around)
    shown |= {**around.clock(record.guid), "warnings": []}


def wanted_schedules(
    around: PolicyReferences, types: Iterable[str], entity: str | None
) -> list[str] | None:
    """The guids of the schedules of some types or of one machine; None stands for all schedules."""
    sorts = set(types)
    if not sorts and entity is None:
        return None
    rules = _rules_for(around, entity) if entity else None
    return [
        item.guid
        for item in around.schedules
        if (not sorts or item.body.get("type", "VM_BACKUP") in sorts)
        and (rules is None or rules & _rules_of(item))
    ]


def _rules_for(around: PolicyReferences, entity: str) -> set[str]:
    """The rules of a machine's policies; an empty list for a machine that is hidden from the
    caller.
    """
    try:
        settings = around.known.machines.get(entity).settings
    except NotFound:
        return set()
    return {
        rule.guid
        for owned in OWNED.values()
        if settings.get(owned.setting)
        for rule in around.known.records.of_kind(owned.kind, settings[owned.setting])
    }


def _rules_of(one: Record) -> set[str]:
    return {ref["guid"] for ref in one.body.get("rules", [])}


def _named(refs: list[JsonObject], kind: str, around: PolicyReferences) -> None:
    for ref in refs:
        ref["name"] = around.name(kind, ref["guid"])


def _primaries(rules: list[JsonObject]) -> list[JsonObject]:
    """The destinations of a policy, each once."""
    found = {
        to["backupDestination"]["guid"]: to["backupDestination"]
        for one in rules
        for to in one.get("ruleBackupDestinations", [])
        if to["roleType"]["name"] == "PRIMARY" and to["backupDestination"].get("guid")
    }
    return list(found.values())


def _of_policy(shown: JsonObject, record: Record, around: PolicyReferences) -> Iterable[str]:
    if trouble := unreadable_conditions(record):
        yield f"auto-assignment does not act: {trouble}"
    if shown.get("dailyReportEnabled") and not around.has_mail_channel:
        yield _NO_MAIL
    for one in shown["rules"]:
        yield from one["warnings"]


def _of_rule(shown: JsonObject) -> Iterable[str]:
    for one in shown.get("ruleBackupDestinations", []):
        yield from terms.warnings(msgspec.convert(one["backupRetentionSettings"], RuleRetention))
