"""Losses by a change of a whole policy: rules, machines, and the backups that would be removed."""

from __future__ import annotations

from dataclasses import dataclass

from haulback.contract.losses import Losses
from haulback.inventory.records import Record
from haulback.server.caller import Caller
from haulback.server.services import configuration, policies, retention_losses
from haulback.server.services.app import App
from haulback.server.services.configuration import RequestRecord
from haulback.server.services.losses import Tally
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.machines import Member


@dataclass(frozen=True)
class _Contents:
    """The rules and the machines of a policy by guid."""

    rules: dict[str, Record]
    members: dict[str, Member]


def of_changed_policy(app: App, who: Caller, sent: RequestRecord, guid: str) -> Losses:
    """The rules and machines that a policy loses by a change, and the backups that would be
    removed.

    The change is carried out and rolled back.  Raises the errors that the change would raise.
    """
    tally = Tally()
    before = _contents(app, who, sent.kind.name, guid)
    with app.store.rehearsal():
        configuration.change(app, who, guid, sent, lambda *_: None)
        after = _contents(app, who, sent.kind.name, guid)
    words = policies.OWNED[sent.kind.name].kind.replace("-", " ")
    for rule in before.rules.values():
        if rule.guid not in after.rules:
            note = "the backups of the rule keep the retention that they got when they were made"
            tally.item(words, "removed", rule.guid, rule.name, note)
    for member in before.members.values():
        if member.guid not in after.members:
            tally.item("machine", "without this policy", member.guid, member.name)
    if sent.kind.name == "vm-backup":
        for rule in before.rules.values():
            changed = after.rules.get(rule.guid)
            if changed is None or changed.body != rule.body:
                retention_losses.add_after_rule(app, tally, rule.guid, changed, who.scope)
    return tally.losses


def _contents(app: App, who: Caller, kind: str, guid: str) -> _Contents:
    """Raises NotFound."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope).records
        policy = known.get(kind, guid)
        rules = known.of_kind(policies.OWNED[kind].kind, guid)
        members = policies.members_of(sql, who.scope, policy)
    return _Contents({rule.guid: rule for rule in rules}, {item.guid: item for item in members})
