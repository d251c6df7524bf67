"""Destinations of backups: by named rules, or by each machine's own policy."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from haulback.contract.order_records import BackupDestination
from haulback.errors import Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Entity, Record
from haulback.kinds.api import AnyRequest
from haulback.kinds.support import planning
from haulback.kinds.support.second_copies import CopyGoal, goals_of, is_scheduled
from haulback.wire import Ref

_THRESHOLDS = {
    "EXPORT": "failRemainingBackupTasksExportThreshold",
    "STORE": "failRemainingBackupTasksStoreThreshold",
}


class ChosenDestination(msgspec.Struct):
    """A destination of backups, with the rule and the policy that chose it.

    `copies` are the destinations of copies, which a schedule makes if they are `copied_later`.
    """

    to: BackupDestination
    policy: Record | None = None
    rule: Record | None = None
    run: str = msgspec.field(default_factory=new_guid)  # the run to which the thresholds apply
    copies: list[CopyGoal] = []
    copied_later: bool = False  # copies are made by a schedule of the rule

    @property
    def thresholds(self) -> dict[str, float]:
        """Percentage of a run's tasks that may fail, by type of task."""
        body = self.policy.body if self.policy else {}
        said = {kind: body.get(name) for kind, name in _THRESHOLDS.items()}
        return {kind: float(value) for kind, value in said.items() if value is not None}

    def applied(self, request: AnyRequest) -> object:
        """The request, with priority and retries of the policy if the request sets none."""
        return planning.by_policy(request, self.policy)


class ChosenDestinations:
    """The goals of each machine in a request.

    Raises Malformed or NotFound: an inactive rule, or a rule of an inactive policy, backs up no
    machine.
    """

    def __init__(self, named: Ref | None, rules: list[Ref] | None, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._named = catalogue.places.destination(named.guid) if named else None
        guids = dict.fromkeys(ref.guid for ref in rules or [])
        self._rules = [catalogue.records.get("rule", guid) for guid in guids]
        self._made: dict[str, ChosenDestination] = {}
        self._by_policy: dict[str, list[ChosenDestination]] = {}
        self._policies: dict[str, Record | None] = {}
        for rule in self._rules:
            policy = self._policy(rule.parent)
            for record in (rule, policy):
                if record and record.body.get("active") is False:
                    raise Malformed(
                        f"rules: {record.name} is not active; activate it, or name a "
                        "backupDestination and no rule",
                        field="rules",
                    )

    def of(self, entity: Entity) -> list[ChosenDestination]:
        """A goal for each named rule; or else the named destination; or else a goal for each
        destination of the machine's own policy; or else the only destination.
        """
        if self._rules:
            return [self._by_rule(rule) for rule in self._rules]
        policy = self._own(entity)
        active = policy if policy and policy.body.get("active") is not False else None
        if self._named:
            return [self._plain(self._named, active)]
        if policy and not active:
            raise Malformed(
                f"rules: the policy {policy.name} of {entity.name} is not active; activate it, or "
                "name a backupDestination",
                field="rules",
            )
        key = policy.guid if policy else ""
        if key not in self._by_policy:
            self._by_policy[key] = self._of_policy(active)
        return self._by_policy[key]

    def _of_policy(self, policy: Record | None) -> list[ChosenDestination]:
        rules = self._catalogue.records.of_kind("rule", policy.guid) if policy else []
        found = [self._by_rule(rule) for rule in rules if rule.body.get("active") is not False]
        apart = {goal.to.guid: goal for goal in reversed(found)}
        if apart:
            return list(reversed(apart.values()))
        return [self._plain(self._catalogue.places.default_destination(), policy)]

    def _own(self, entity: Entity) -> Record | None:
        return self._policy(str(entity.settings.get("backupPolicy") or ""))

    def _policy(self, guid: str) -> Record | None:
        """A policy, or None if the caller may not see it."""
        if guid and guid not in self._policies:
            self._policies[guid] = None
            with suppress(NotFound):
                self._policies[guid] = self._catalogue.records.get("vm-backup", guid)
        return self._policies.get(guid)

    def _plain(self, to: BackupDestination, policy: Record | None) -> ChosenDestination:
        key = f"{to.guid} {policy.guid if policy else ''}"
        return self._made.setdefault(key, ChosenDestination(to, policy))

    def _by_rule(self, rule: Record) -> ChosenDestination:
        if rule.guid not in self._made:
            to = self._named or self._primary(rule)
            copies = goals_of(rule, self._catalogue, to.guid)
            later = bool(copies) and is_scheduled(rule, self._catalogue)
            self._made[rule.guid] = ChosenDestination(
                to, self._policy(rule.parent), rule, copies=copies, copied_later=later
            )
        return self._made[rule.guid]

    def _primary(self, rule: Record) -> BackupDestination:
        for target in rule.body.get("ruleBackupDestinations", []):
            if target["roleType"] == "PRIMARY":
                return self._catalogue.places.destination(target["backupDestination"]["guid"])
        if roles := sorted(
            {target["roleType"] for target in rule.body.get("ruleBackupDestinations", [])}
        ):
            raise Malformed(
                f"rules: {rule.name} has no PRIMARY destination, only {', '.join(roles)}; give it "
                "one, or name a backupDestination",
                field="rules",
            )
        return self._catalogue.places.default_destination()
