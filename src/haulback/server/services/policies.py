"""The rules of a policy, the schedules of the rules, and the machines of the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, NamedTuple

import msgspec

from haulback.contract.policies import Policy, Rule, SnapshotPolicy, SnapshotRule
from haulback.contract.records import PolicyRecord
from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Entity, Record
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import retention_waits
from haulback.server.store import configuration, machines
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
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
}
RULES = frozenset(one.kind for one in OWNED.values())


class PolicyMembers(NamedTuple):
    """A change of records: its connection, the caller's scope, and the time (epoch ms)."""

    sql: Connection
    scope: Scope
    now: int

    @property
    def known(self) -> SqlCatalogue:
        """The catalogue at this moment."""
        return SqlCatalogue(self.sql, self.scope)

    def rules(self, policy: Record, sent: object, check: Check, *, fresh: bool) -> None:
        """Give a policy these rules, and no others; `fresh`: policy and rules are new.

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
        self.fired_by(guid, rule.schedules)

    def fired_by(self, rule: str, schedules: Iterable[Ref] | None) -> None:
        """Set the schedules that run a rule; None leaves them unchanged.

        Raises NotFound.
        """
        if schedules is None:
            return
        wanted = {self._schedule(ref.guid, rule).guid for ref in schedules}
        for record in self.known.records.of_kind("schedule"):
            if not (self.scope.is_whole or self.scope.allows(record.project)):
                self._check_kept(record, rule, wanted)
                continue
            rules = [ref for ref in record.body.get("rules", []) if ref["guid"] != rule]
            rules += [{"guid": rule}] if record.guid in wanted else []
            self._fires(record, rules)

    def _check_kept(self, schedule: Record, rule: str, wanted: Set[str]) -> None:
        """Raises Forbidden where a schedule of all projects would no longer fire the rule.

        A schedule of another project is hidden from the caller and stays unchanged.
        """
        fires = {"guid": rule} in schedule.body.get("rules", [])
        if schedule.project is None and fires and schedule.guid not in wanted:
            self.known.records.changeable("schedule", schedule.guid)

    def _schedule(self, guid: str, rule: str) -> Record:
        """A schedule that fires a rule already, or that the caller may change."""
        found = self.known.records.get("schedule", guid)
        if {"guid": rule} in found.body.get("rules", []):
            return found
        return self.known.records.changeable("schedule", guid)

    def _fires(self, schedule: Record, rules: list[dict[str, str]]) -> None:
        if rules != schedule.body.get("rules", []):
            body = {**schedule.body, "rules": rules}
            after = msgspec.structs.replace(schedule, body=body, modified=self.now)
            configuration.change(self.sql, after)

    def without_rule(self, rule: Record) -> None:
        """Remove a rule, and every mention of it in schedules."""
        retention_waits.end(self.sql, [rule.guid], self.now)
        PolicyMembers(self.sql, EVERYTHING, self.now).fired_by(rule.guid, [])
        configuration.remove(self.sql, rule.guid)

    def members(self, policy: Record, wanted: Iterable[Ref]) -> None:
        """Give a policy to these machines, and take it from all other machines of the caller.

        Raises NotFound.
        """
        setting = OWNED[policy.kind].setting
        result = {
            machine.guid: machine
            for machine in self.known.machines.get_many([ref.guid for ref in wanted])
        }
        for item in result.values():
            _check_project(policy, item)
            if item.settings.get(setting) != policy.guid:
                machines.set_settings(self.sql, item.guid, {**item.settings, setting: policy.guid})
        for member in members_of(self.sql, self.scope, policy.kind).get(policy.guid, []):
            if member.guid not in result:
                machines.set_settings(self.sql, member.guid, _without(member.settings, setting))

    def handed_over(self, policy: Record) -> None:
        """Check that a policy with a new project has no machine of another project.

        Raises Conflict.
        """
        for member in members_of(self.sql, EVERYTHING, policy.kind).get(policy.guid, []):
            _check_project(policy, member)

    def without_policy(self, policy: Record) -> None:
        """Remove the rules of a policy, and every mention of it in the settings of machines."""
        owned = OWNED[policy.kind]
        for rule in self.known.records.of_kind(owned.kind, policy.guid):
            self.without_rule(rule)
        for member in members_of(self.sql, EVERYTHING, policy.kind).get(policy.guid, []):
            machines.set_settings(self.sql, member.guid, _without(member.settings, owned.setting))


def _check_project(policy: Record, machine: Entity) -> None:
    """Raises Conflict where a machine would get the policy of another project."""
    if policy.project not in (None, machine.project):
        raise Conflict(
            f"vms: {machine.name} is of project {machine.project or 'none'}, and the policy "
            f"{policy.name} of project {policy.project}; give the machine to that project first",
            field="vms",
        )


def body_of(wanted: PolicyRecord, parent: str | None) -> JsonObject:
    """The members of a record without name, parent and the members that other records keep."""
    apart = _APART.get(type(wanted), ())  # members that other records keep
    left_out = {"name", "project", parent, *apart}
    body = msgspec.to_builtins(wanted)
    return {k: v for k, v in body.items() if k not in left_out and v is not None}


def members_of(sql: Connection, scope: Scope, kind: str) -> dict[str, list[Entity]]:
    """The machines within a scope, by the guid of their policy of one kind."""
    setting = OWNED[kind].setting
    found: dict[str, list[Entity]] = {}
    for machine in machines.with_setting(sql, setting):
        if scope.allows(machine.project):
            found.setdefault(str(machine.settings.get(setting)), []).append(machine)
    return found


def _without(settings: JsonMapping, name: str) -> JsonObject:
    return {key: value for key, value in settings.items() if key != name}


def _rules(sent: object, owned: Owned, before: Mapping[str, Record]) -> list[tuple[str, Any]]:
    """The rules of a request, each with the guid of the stored rule, "" for a new rule.

    A rule without a guid is the stored rule of its name, so that it keeps its history.
    """
    given = [_object(item, place) for place, item in enumerate(_present(sent))]
    names = {str(entry["name"]) for entry in given if entry.get("name")}
    named = {entry.name: guid for guid, entry in before.items()}
    claimed = {str(entry["guid"]) for entry in given if entry.get("guid")}
    result: list[tuple[str, Any]] = []
    for place, entry in enumerate(given):
        field = f"rules[{place}]"
        guid = _known(entry, before, field)
        if not guid and (same := named.get(str(entry.get("name")), "")) not in claimed:
            guid = same
        claimed.add(guid)
        kept = {k: v for k, v in _members(before.get(guid)).items() if k not in entry}
        whole = {**kept, **{k: v for k, v in entry.items() if v is not None}}
        whole.setdefault("name", _free(names))
        rule = read(whole, owned.struct, field)
        names.add(rule.name)
        result.append((guid, rule))
    return result


def _present(sent: Any) -> list[Any]:
    return [one for one in sent if one is not None]


def _object(item: object, place: int) -> JsonObject:
    given = {"guid": item} if isinstance(item, str) else item
    if not isinstance(given, dict):
        raise Malformed(f"rules[{place}]: a rule is an object", field=f"rules[{place}]")
    return given


def _known(given: JsonMapping, before: Mapping[str, Record], field: str) -> str:
    """The guid of the rule to change; portals send a guid for unsaved rules as well."""
    guid = given.get("guid")
    if guid is not None and not isinstance(guid, str):
        raise Malformed(f"{field}.guid: a guid is a text", field=f"{field}.guid")
    if not guid or given.get("isNotSaved") is True or not before:
        return ""
    if guid not in before:
        raise Malformed(f"{field}.guid: the policy has no rule {guid}", field=f"{field}.guid")
    return str(guid)


def _members(rule: Record | None) -> JsonObject:
    return {"name": rule.name, **rule.body} if rule else {}


def _free(names: set[str]) -> str:
    """A name for a rule without a name: names distinguish the rules of a policy."""
    name, number = "Default", 1
    while name in names:
        number += 1
        name = f"Default {number}"
    return name
