"""The retention terms that apply to each backup: terms of its rule, of its destination, or of the
time when it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from haulback.contract.destinations import Retention
from haulback.contract.retention import RuleRetention
from haulback.errors import NotFound
from haulback.inventory.records import Record
from haulback.policy import terms as policy_terms
from haulback.policy.retention import AppliedTerms, StoredBackup, Terms
from haulback.server.store import retention, schedule_zones
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection


class TermsBook:
    """Retention terms from one transaction, each read once.

    `drafts` replace stored rules by guid; None stands for a removed rule.  `zones` caches the zones
    of rules for later instances.
    `is_asked` is true if a user requested the clean-up, so that no destination waits for a
    confirmation.
    """

    def __init__(
        self,
        sql: Connection,
        drafts: Mapping[str, Record | None] | None = None,
        zones: dict[str, str] | None = None,
        *,
        is_asked: bool = False,
    ) -> None:
        self._sql, self._known = sql, SqlCatalogue(sql)
        self._zones = {} if zones is None else zones
        self._rules: dict[str, Record | None] = dict(drafts or {})
        self._drafts = frozenset(self._rules)
        self._waiting, self._is_asked = retention.waiting(sql), is_asked
        self._made: dict[str, Terms] = {}
        self._destinations: dict[str, Terms] = {}
        self._spared: dict[str, int] = {}
        self._applied_terms: dict[tuple[str, str, str | None, str | None], AppliedTerms] = {}

    def draft_destination(self, guid: str, settings: Retention) -> None:
        """Use these settings of a destination instead of the stored settings."""
        self._destinations[guid] = policy_terms.of_destination(settings)
        self._spared[guid] = settings.keepLastBackupOfAbsentDays

    def confirm(self, owners: Iterable[str]) -> None:
        """Decide as if these rules and destinations did not wait for a confirmation."""
        for owner in owners:
            self._waiting.pop(owner, None)

    def learn(self, stored: Iterable[StoredBackup]) -> None:
        """Read the rules of these backups, and the terms under which they were made."""
        backups = list(stored)
        rules = {item.rule for item in backups if item.rule} - self._rules.keys()
        self._rules |= dict.fromkeys(rules) | retention.rules(self._sql, rules)
        keys = {item.terms for item in backups if item.terms} - self._made.keys()
        for key, body in retention.terms_of(self._sql, keys).items():
            self._made[key] = msgspec.json.decode(body, type=Terms)

    def applied(self, item: StoredBackup) -> AppliedTerms:
        """The terms that apply to a backup.

        A backup of an existing rule has the rule's present settings for the destination.  A backup
        without a rule has the settings of the destination when the backup was made, and its present
        settings.  A backup of a removed rule has the settings of the time when the backup was made.
        A rule without settings uses those of its destination.
        """
        key = (item.destination, item.role, item.rule, item.terms)
        if key not in self._applied_terms:
            self._applied_terms[key] = self._applied(item)
        return self._applied_terms[key]

    def _applied(self, item: StoredBackup) -> AppliedTerms:
        rule = self.rule(item.rule) if item.rule else None
        made = self._made.get(item.terms or "")
        present = self._of_destination(item.destination)
        held = item.destination in self._waiting and not self._is_asked
        if rule:
            settings = policy_terms.of_role(rule.body, item.role, item.destination)
            if settings is None:
                waits = held and rule.guid not in self._drafts
                return AppliedTerms((present,), is_living=True, waits=waits)
            own = policy_terms.of_rule(settings, self.zone(rule.guid, settings))
            waits = rule.guid in self._waiting and rule.guid not in self._drafts
            return AppliedTerms((own,), is_living=True, waits=waits)
        waits = held and made is None
        if item.rule:
            return AppliedTerms((made or present,), waits=waits)
        return AppliedTerms((made, present) if made else (present,), waits=waits)

    def owner(self, item: StoredBackup) -> str:
        """The guid of the rule or destination whose present settings apply to a backup."""
        rule = self.rule(item.rule) if item.rule else None
        if rule is None:
            return item.destination
        own = policy_terms.of_role(rule.body, item.role, item.destination)
        return item.destination if own is None else rule.guid

    def is_waiting(self, item: StoredBackup) -> bool:
        """Whether the settings that apply to a backup wait for a confirmation by a user."""
        return bool(self._waiting) and self.owner(item) in self._waiting

    def rule(self, guid: str) -> Record | None:
        """A rule by its guid, None for a removed rule."""
        if guid not in self._rules:
            try:
                self._rules[guid] = self._known.records.get("rule", guid)
            except NotFound:
                self._rules[guid] = None
        return self._rules[guid]

    def zone(self, rule: str, settings: RuleRetention) -> str:
        """The time zone for the keeps of a rule: the zone of the rule, of its schedule, or UTC."""
        if settings.timeZone or not any(settings.keeps):
            return settings.timeZone or "UTC"
        if rule not in self._zones:
            self._zones[rule] = schedule_zones.of_rule(self._sql, rule) or "UTC"
        return self._zones[rule]

    def spared_days(self, destination: str) -> int:
        """Days for which the last backup of an absent machine stays on a destination."""
        if destination in self._spared:
            return self._spared[destination]
        settings = self._known.places.destination(destination).settings
        return policy_terms.of(settings).keepLastBackupOfAbsentDays

    def _of_destination(self, guid: str) -> Terms:
        if guid not in self._destinations:
            settings = self._known.places.destination(guid).settings
            self._destinations[guid] = policy_terms.of_destination(policy_terms.of(settings))
        return self._destinations[guid]
