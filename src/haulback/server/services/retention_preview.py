"""Preview of a saved or drafted rule's retention, by the code that decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from haulback.contract.policies import Rule
from haulback.contract.retention_preview import RetentionPreviewRequest
from haulback.errors import Malformed
from haulback.ids import guid_of, new_guid
from haulback.inventory.records import Record
from haulback.policy.retention import RetentionVerdict, StoredBackup
from haulback.server.caller import Caller
from haulback.server.scope import Scope
from haulback.server.services import policies, retention_run
from haulback.server.services.app import App
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.server.services.retention_terms import TermsBook
from haulback.server.store import retention
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.wire import JsonObject, read

_SHOWN = 10_000  # backups of one answer
_PIECE = 500  # machines of one query
_APART = ":"  # the separator of destination and machine in a cursor
StoredPlace = tuple[str, str]  # the cursor: a destination and a machine


class RulePreview(NamedTuple):
    """The verdicts about a rule's backups, with the names of their machines and destinations.

    `after` is the cursor at which the preview continues, None at its end.
    """

    rule: Record
    waits: bool
    verdicts: list[RetentionVerdict]
    names: Mapping[str, str]
    after: str | None


def preview(app: App, who: Caller, wanted: RetentionPreviewRequest) -> RulePreview:
    """Decide about the backups of a rule without changing them.

    Raises Malformed, NotFound.
    """
    with app.store.read() as sql:
        draft = _Draft(sql, who.scope, wanted)
        book = TermsBook(sql, {draft.rule.guid: draft.rule})
        names, judged = dict[str, str](), list[RetentionVerdict]()
        after: str | None = None
        for destination, entities in _pieces(draft.places(wanted.after or "")):
            named = retention.names(sql, entities)
            seen = [guid for guid, (_, project) in named.items() if who.scope.allows(project)]
            names |= {guid: named[guid][0] for guid in seen}
            stored = draft.claimed(retention.of_entities(sql, destination, seen))
            verdicts = retention_run.verdicts(sql, book, stored, app.clock.now_ms())
            judged += [item for item in verdicts if item.location.rule == draft.rule.guid]
            if len(judged) >= _SHOWN:
                after = f"{destination}{_APART}{entities[-1]}"
                break
        waits = draft.waits or any(book.is_waiting(item.location) for item in judged)
        return RulePreview(draft.rule, waits, judged, names, after)


class _Draft:
    """The rule of a preview, and the backups that count as its own."""

    def __init__(self, sql: Connection, scope: Scope, wanted: RetentionPreviewRequest) -> None:
        self._sql, self._known, self._wanted = sql, SqlCatalogue(sql, scope), wanted
        self._scope = scope
        given = _rule_of(wanted)
        guid = given.get("guid")
        self._saved = self._known.records.get("rule", guid_of(guid, "rule.guid")) if guid else None
        self.rule = self._merged(given)
        self.waits = self.rule.guid in retention.waiting(sql, [self.rule.guid])

    def _merged(self, given: JsonObject) -> Record:
        """The saved rule with the given members, or a new rule.  Raises Malformed, NotFound."""
        saved = self._saved
        members = {"name": saved.name, **saved.body} if saved else {"name": "Draft"}
        whole = members | {name: value for name, value in given.items() if value is not None}
        rule: Rule = read(whole, Rule, "rule")
        RECORD_KINDS["rule"].check_record(rule, self._known)
        body = policies.body_of(rule, "policy")
        if saved:
            return msgspec.structs.replace(saved, name=rule.name, body=body)
        return Record(guid=new_guid(), kind="rule", name=rule.name, body=body)

    def places(self, after: str) -> Iterator[StoredPlace]:
        """The machines and destinations of the rule's backups after the cursor `after`, in
        order.
        """
        last = tuple(after.split(_APART, 1)) if after else ("", "")
        for place in self._places():
            if place > last:
                yield place

    def _places(self) -> Sequence[StoredPlace]:
        if self._saved:
            return retention.places_of_rule(self._sql, self._saved.guid)
        targets = self.rule.body.get("ruleBackupDestinations", [])
        named = {target["backupDestination"].get("guid") for target in targets} - {None}
        return [(to, machine) for to in sorted(named) for machine in sorted(self._machines())]

    def _machines(self) -> set[str]:
        """Machines of a new rule.  Raises Malformed, NotFound."""
        wanted = self._wanted
        if wanted.protectedEntities is not None:
            guids = [ref.guid for ref in wanted.protectedEntities]
            return {machine.guid for machine in self._known.machines.get_many(guids)}
        if wanted.policy is None:
            raise Malformed(
                "protectedEntities: name machines, or a policy, for the preview of a new rule",
                field="protectedEntities",
            )
        policy = self._known.records.get("vm-backup", wanted.policy.guid)
        return {member.guid for member in policies.members_of(self._sql, self._scope, policy)}

    def claimed(self, stored: list[StoredBackup]) -> list[StoredBackup]:
        """The backups as input of the decision: a new rule counts all of them as its own."""
        if self._saved is None:
            for item in stored:
                item.rule = self.rule.guid
        return stored


def _rule_of(wanted: RetentionPreviewRequest) -> JsonObject:
    """The rule of a request as an object.  Raises Malformed."""
    given = {"guid": wanted.rule} if isinstance(wanted.rule, str) else wanted.rule
    if not isinstance(given, dict) or not isinstance(given.get("guid", ""), str | None):
        raise Malformed("rule: name a saved rule by its guid, or draft a rule", field="rule")
    return given


def _pieces(places: Iterator[StoredPlace]) -> Iterator[tuple[str, list[str]]]:
    """Machines by destination, some at a time."""
    destination, entities = "", list[str]()
    for to, entity in places:
        if entities and (to != destination or len(entities) == _PIECE):
            yield destination, entities
            entities = []
        destination = to
        entities.append(entity)
    if entities:
        yield destination, entities
