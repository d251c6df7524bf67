"""The rules of a policy, the schedules of the rules, and the machines of the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import msgspec

from haulback.contract.policies import (
    AnyPolicy,
    AutoAssign,
    AutoAssignSettings,
    Policy,
    Rule,
    SnapshotPolicy,
    SnapshotRule,
)
from haulback.contract.records import PolicyRecord
from haulback.contract.recovery_plans import RecoveryPlan
from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Entity, Record
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import retention_waits
from haulback.server.services.schedule_checks import rule_kind
from haulback.server.store import configuration, copies, machines
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.machines import Member as Member
from haulback.wire import JsonMapping, JsonObject, Ref, read

Check = Callable[[Any, Catalogue], None]


class Owned(NamedTuple):
    """The kind and the struct of a policy's rules, and the setting of machines that names it."""

    kind: str
    struct: type[PolicyRecord]
    setting: str


OWNED = {
    "vm-backup": Owned("rule", Rule, "backupPolicy"),
    "vm-snapshot": Owned("snapshot-rule", SnapshotRule, "snapshotPolicy"),
}
_APART: Mapping[type[PolicyRecord], tuple[str, ...]] = {
    Policy: ("vms", "rules"),
    SnapshotPolicy: ("vms", "rules"),
    Rule: ("schedules",),
    SnapshotRule: ("schedules",),
    RecoveryPlan: ("schedules",),
}
RULES = frozenset(one.kind for one in OWNED.values())
FIRED = RULES | {"recovery-plan"}  # kinds of records that schedules fire


class PolicyMembers(NamedTuple):
    """A change of records: its connection, the caller's scope, and the time (epoch ms)."""

    sql: Connection
    scope: Scope
    now: int

    @property
    def known(self) -> SqlCatalogue:
        """The catalogue in this transaction."""
        return SqlCatalogue(self.sql, self.scope)

    def rules(self, policy: Record, sent: object, check: Check, *, fresh: bool) -> None:
        """Replace the rules of a policy by these rules; `fresh` is true if policy and rules are
        new.

        A rule keeps the members that `sent` leaves out.  Raises Malformed, NotFound, Conflict.
        """
        owned = OWNED[policy.kind]
        before = {
            record.guid: record for record in self.known.records.of_kind(owned.kind, policy.guid)
        }
        kept = {} if fresh else before
        wanted = _rules(sent, owned, kept)
        staying = {guid for guid, _ in wanted if guid}
        for guid in before.keys() - staying:
            self.without_rule(before[guid])
        for guid, rule in wanted:
            check(rule, self.known)
            if guid and before[guid].name != rule.name:
                configuration.rename(self.sql, guid, guid)  # two rules may swap their names
        for guid, rule in wanted:
            self._keep(policy, owned, before.get(guid), rule)

    def _keep(self, policy: Record, owned: Owned, old: Record | None, rule: Any) -> None:
        guid = old.guid if old else new_guid()
        record = Record(guid=guid, kind=owned.kind, name=rule.name, parent=policy.guid)
        record.body, record.modified = body_of(rule, "policy"), self.now
        record.created = old.created if old else self.now
        record.project = policy.project
        (configuration.change if old else configuration.add)(self.sql, record)
        self.fired_by(record, rule.schedules)

    def fired_by(self, record: Record, schedules: Iterable[Ref] | None) -> None:
        """Set the schedules that run a rule or a recovery plan; None leaves them unchanged.

        Raises NotFound, Malformed for a schedule of another type.
        """
        if schedules is None:
            return
        rule = record.guid
        wanted = {self._schedule(ref.guid, record).guid for ref in schedules}
        for schedule in self.known.records.of_kind("schedule"):
            if not (self.scope.is_whole or self.scope.allows(schedule.project)):
                self._check_kept(schedule, rule, wanted)
                continue
            self._fires(schedule, rule, schedule.guid in wanted)

    def _check_kept(self, schedule: Record, rule: str, wanted: Set[str]) -> None:
        """Raises Forbidden if a schedule of all projects would no longer fire the rule.

        A schedule of another project is hidden from the caller and stays unchanged.
        """
        fires = {"guid": rule} in schedule.body.get("rules", [])
        if schedule.project is None and fires and schedule.guid not in wanted:
            self.known.records.changeable("schedule", schedule.guid)

    def _schedule(self, guid: str, rule: Record) -> Record:
        """A schedule that already fires a rule, or that the caller may change."""
        schedule = self.known.records.get("schedule", guid)
        if {"guid": rule.guid} in schedule.body.get("rules", []):
            return schedule
        if rule_kind(schedule) != rule.kind:
            raise Malformed(
                f"schedules: {schedule.name} is a schedule of another type; choose one that runs "
                f"{rule.kind.replace('-', ' ')}s",
                field="schedules",
            )
        return self.known.records.changeable("schedule", guid)

    def _fires(self, schedule: Record, rule: str, is_wanted: bool) -> None:
        """Add a rule to a schedule, or remove it."""
        if is_wanted == any(ref["guid"] == rule for ref in schedule.body.get("rules", [])):
            return
        # Another policy may change the rules of the schedule; `of_kind` orders the locks by name.
        locked = configuration.locked(self.sql, schedule.guid)
        rules = [ref for ref in locked.body.get("rules", []) if ref["guid"] != rule]
        rules += [{"guid": rule}] if is_wanted else []
        body = {**locked.body, "rules": rules}
        after = msgspec.structs.replace(locked, body=body, modified=self.now)
        configuration.change(self.sql, after)

    def without_rule(self, rule: Record) -> None:
        """Remove a rule, also from all schedules."""
        retention_waits.end(self.sql, [rule.guid], self.now)
        PolicyMembers(self.sql, EVERYTHING, self.now).fired_by(rule, [])
        configuration.remove(self.sql, rule.guid)

    def members(self, policy: Record, wanted: Iterable[Ref]) -> None:
        """Assign these machines to a policy, and remove all other machines of the caller from it.

        Raises NotFound.
        """
        setting = OWNED[policy.kind].setting
        result = {
            machine.guid: machine
            for machine in self.known.machines.get_many([ref.guid for ref in wanted])
        }
        new = [item for item in result.values() if item.settings.get(setting) != policy.guid]
        check_no_copy(self.sql, new, "vms")
        for item in result.values():
            _check_project(policy, item)
        for item in new:
            machines.set_settings(self.sql, item.guid, {**item.settings, setting: policy.guid})
        gone = [
            member.guid
            for member in members_of(self.sql, self.scope, policy)
            if member.guid not in result
        ]
        for item in self.known.machines.get_many(gone):
            machines.set_settings(self.sql, item.guid, _without(item.settings, setting))

    def handed_over(self, policy: Record) -> None:
        """Check that a policy with a new project has no machine of another project.

        Raises Conflict.
        """
        for member in members_of(self.sql, EVERYTHING, policy):
            _check_project(policy, member)

    def without_policy(self, policy: Record) -> None:
        """Remove the rules of a policy, and the policy from the settings of all machines."""
        owned = OWNED[policy.kind]
        for rule in self.known.records.of_kind(owned.kind, policy.guid):
            self.without_rule(rule)
        machines.leave_policy(self.sql, owned.setting, policy.guid)


def _check_project(policy: Record, machine: Entity | Member) -> None:
    """Raises Conflict if a machine would get a policy of another project."""
    if policy.project not in (None, machine.project):
        raise Conflict(
            f"vms: {machine.name} belongs to project {machine.project or 'none'}, and the "
            f"policy {policy.name} to project {policy.project}; move the machine to that "
            "project first",
            field="vms",
        )


def check_no_copy(sql: Connection, wanted: Sequence[Entity], field: str) -> None:
    """Raises Conflict if a machine that runs from a policy's backup would get that policy."""
    made = copies.copies(sql, wanted)
    for machine in wanted:
        if machine.guid in made:
            raise Conflict(
                f"{field}: {machine.name} runs from a backup and is not backed up; move "
                "the machine to its own storage first (haulback migrate)",
                field=field,
            )


def body_of(wanted: PolicyRecord, parent: str | None) -> JsonObject:
    """The members of a record without its name, its parent and the members that other records
    store.
    """
    apart = _APART.get(type(wanted), ())  # members that other records store
    left_out = {"name", "project", parent, *apart}
    body = msgspec.to_builtins(wanted)
    return {k: v for k, v in body.items() if k not in left_out and v is not None}


def completed(wanted: PolicyRecord, before: Record | None) -> Any:
    """A policy with a single mode of auto-assignment, a recovery plan with guids; other records
    stay unchanged.

    Portals send back the old `autoAssignMode` together with a changed mode in `autoAssignSettings`.
    Raises Malformed if both differ from the stored mode and from each other.
    """
    if isinstance(wanted, RecoveryPlan):
        return _with_guids(wanted, before)
    if not isinstance(wanted, AnyPolicy):
        return wanted
    settings = wanted.autoAssignSettings or AutoAssignSettings()
    stored = AutoAssign((before.body if before else {}).get("autoAssignMode") or "DISABLED")
    sent = {mode for mode in (settings.mode, wanted.autoAssignMode) if mode is not None}
    changed = sent - {stored}
    if len(changed) > 1:
        raise Malformed(
            "autoAssignMode: differs from autoAssignSettings.mode; send only one of the "
            "two, or both with the same value",
            field="autoAssignMode",
        )
    mode = next(iter(changed or sent), AutoAssign.DISABLED)
    settings = msgspec.structs.replace(settings, mode=mode)
    return msgspec.structs.replace(wanted, autoAssignMode=mode, autoAssignSettings=settings)


def _with_guids(wanted: RecoveryPlan, before: Record | None) -> RecoveryPlan:
    """A recovery plan whose rules all have a guid; a rule keeps its guid while it keeps its
    name.
    """
    stored = before.body.get("rules", []) if before else []
    guids = {rule["name"]: rule.get("guid") for rule in stored}
    rules = [
        msgspec.structs.replace(rule, guid=rule.guid or guids.get(rule.name) or new_guid())
        for rule in wanted.rules
    ]
    return msgspec.structs.replace(wanted, rules=rules)


def members_of(sql: Connection, scope: Scope, policy: Record) -> list[Member]:
    """The machines of a policy within a scope, ordered by name."""
    found = machines.members(sql, OWNED[policy.kind].setting, policy.guid)
    return [member for member in found if scope.allows(member.project)]


def _without(settings: JsonMapping, name: str) -> JsonObject:
    return {key: value for key, value in settings.items() if key != name}


def _rules(sent: object, owned: Owned, before: Mapping[str, Record]) -> list[tuple[str, Any]]:
    """The rules of a request, each with the guid of the stored rule, "" for a new rule."""
    given = [_object(item, place) for place, item in enumerate(_present(sent))]
    names = {str(entry["name"]) for entry in given if entry.get("name")}
    result: list[tuple[str, object]] = []
    for place, (guid, entry) in enumerate(zip(_identified(given, before), given, strict=True)):
        kept = {k: v for k, v in _members(before.get(guid)).items() if k not in entry}
        whole = {**kept, **{k: v for k, v in entry.items() if v is not None}}
        whole.setdefault("name", _free(names))
        whole.setdefault("position", place)
        rule = read(whole, owned.struct, f"rules[{place}]")
        names.add(rule.name)
        result.append((guid, rule))
    return result


def _identified(given: Sequence[JsonMapping], before: Mapping[str, Record]) -> list[str]:
    """The stored rule for each rule of a request, "" for a new rule, so that rules keep their
    history.

    A rule is matched by its guid, else by its name, else by its position.  Raises Malformed for a
    guid that is unknown or given twice.
    """
    result = [_known(entry, before, f"rules[{place}]") for place, entry in enumerate(given)]
    for place, guid in enumerate(result):
        if guid and guid in result[:place]:
            field = f"rules[{place}].guid"
            raise Malformed(f"{field}: the rule is named twice; name each rule once", field=field)
    names = {rule.name: guid for guid, rule in before.items()}
    places = {str(rule.body.get("position")): guid for guid, rule in before.items()}
    for member, stored in (("name", names), ("position", places)):
        for place, entry in enumerate(given):
            value = entry.get(member)
            is_new = member == "position" and entry.get("isNotSaved") is True
            if result[place] or value is None or is_new:
                continue
            guid = stored.get(str(value), "")
            result[place] = "" if guid in result else guid
    return result


def _present(sent: Any) -> list[object]:
    return [one for one in sent if one is not None]


def _object(item: object, place: int) -> JsonObject:
    given = {"guid": item} if isinstance(item, str) else item
    if not isinstance(given, dict):
        raise Malformed(f"rules[{place}]: send the rule as an object", field=f"rules[{place}]")
    return given


def _known(given: JsonMapping, before: Mapping[str, Record], field: str) -> str:
    """The guid of the rule to change, if it is stored; portals send guids for unsaved rules too."""
    guid = given.get("guid")
    if guid is not None and not isinstance(guid, str):
        raise Malformed(f"{field}.guid: send the guid as a text", field=f"{field}.guid")
    if not guid or not before:
        return ""
    if guid not in before and given.get("isNotSaved") is True:
        return ""
    if guid not in before:
        raise Malformed(f"{field}.guid: the policy has no rule {guid}", field=f"{field}.guid")
    return str(guid)


def _members(rule: Record | None) -> JsonObject:
    return {"name": rule.name, **rule.body} if rule else {}


def _free(names: set[str]) -> str:
    """A name for a rule without a name, since names distinguish the rules of a policy."""
    name, number = "Default", 1
    while name in names:
        number += 1
        name = f"Default {number}"
    return name
