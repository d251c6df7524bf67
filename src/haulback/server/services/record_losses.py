"""Losses by the removal of a machine, a hypervisor, a destination, a node, a user or a record."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haulback.contract.catalogue import AttachedDestination
from haulback.contract.destinations import ChangedDestination
from haulback.contract.losses import Losses
from haulback.inventory.records import Record
from haulback.server.caller import Caller
from haulback.server.scope import Scope
from haulback.server.services import (
    destination_owners,
    destinations,
    policies,
    retention_losses,
)
from haulback.server.services.app import App
from haulback.server.services.configuration import RequestRecord, drafted
from haulback.server.services.losses import Tally
from haulback.server.services.record_kinds import RecordKind
from haulback.server.store import accounts, copy_links, given_up, loss_rows, nodes
from haulback.server.store.catalogue import SqlCatalogue

_BELOW: Mapping[str, str] = {"vm-backup": "rule", "vm-snapshot": "snapshot-rule"}
_DELETES_AT_ONCE = (
    "the clean-ups of this server delete there at once, by the retention of this server; if "
    "the old owner can still delete, leave the revocation out (--old-credential-revoked, "
    "oldCredentialRevoked)"
)
_DELETES_LATER = (
    "nothing is deleted there for 24 hours; after that the clean-ups of this server delete by the "
    "retention of this server"
)
_HISTORY = "with the history of its fires"


def of_node(app: App, guid: str) -> Losses:
    """A node, and the queued tasks that only this node could run.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        tally.item("node", "removed", guid, nodes.one_node(sql, guid).name)
        tally.add(loss_rows.tasks(sql, "failed", loss_rows.queued_for(guid)))
    return tally.losses


def of_node_token(app: App, guid: str) -> Losses:
    """The tasks that end when a node gets a new token.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        node = nodes.one_node(sql, guid)
        tally.item("token", "replaced", guid, node.name, "the process with the old token stops")
        if node.session:
            tally.add(loss_rows.tasks(sql, "given up", loss_rows.run_by(node.session)))
    return tally.losses


def of_destination(app: App, guid: str) -> Losses:
    """A destination without backups, its key, and its copy links.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        place = SqlCatalogue(sql).places.destination(guid)
        note = "its files stay; the key of its repository is removed" if place.repository else ""
        tally.item("destination", "removed", guid, place.name, note)
        names = {other.guid: other.name for other in SqlCatalogue(sql).places.destinations()}
        for link in copy_links.touching(sql, guid):
            target = f"to {names.get(link.target, link.target)}"
            tally.item("copy link", "removed", link.source, names.get(link.source, ""), target)
        tally.add(loss_rows.tasks(sql, "ended", given_up.of_destination(guid)))
    return tally.losses


def of_moved_destination(app: App, guid: str) -> Losses:
    """A destination whose location changes.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        place = SqlCatalogue(sql).places.destination(guid)
    tally.item("destination", "moved", guid, place.name, "its backups are read at the new location")
    tally.note("nothing is deleted at the old location")
    return tally.losses


def of_taken_destination(app: App, guid: str, *, revoked: bool) -> Losses:
    """A destination whose owner changes, and the backups that this server removes there later.

    `revoked` as in TakeOver.  Raises NotFound.
    """
    tally = Tally()
    with app.store.read() as sql:
        place = SqlCatalogue(sql).places.destination(guid)
        is_ours = destination_owners.is_ours(sql, place)
        owner = "this server" if is_ours else destination_owners.owner_of(place)
    note = "this server owns the destination already" if is_ours else f"until now of {owner}"
    tally.item("destination", "taken over", guid, place.name, note)
    if not is_ours:
        tally.note(f"{owner} can neither store nor delete backups on {place.name} any more")
    tally.note(_DELETES_AT_ONCE if revoked else _DELETES_LATER)
    retention_losses.add_at_clean_up(app, tally, guid)
    return tally.losses


def of_attached_destination(wanted: AttachedDestination) -> Losses:
    """A destination that is taken over while it is attached; no items if the store is only read.

    The backups and the owner of the store are unknown until a node has opened its repository.
    """
    tally = Tally()
    if wanted.takeOver:
        tally.item("destination", "taken over", "", wanted.name, "the store was not opened yet")
        tally.note("the server that owned the store can neither store nor delete backups there")
        tally.note(_DELETES_AT_ONCE if wanted.oldCredentialRevoked else _DELETES_LATER)
    else:
        tally.note("the store is only read")
    return tally.losses


def of_destination_settings(app: App, guid: str, wanted: ChangedDestination) -> Losses:
    """The backups that a changed retention of a destination would remove."""
    before = destinations.destination(app, guid)
    if wanted.retention is None or wanted.retention == destinations.retention_of(before):
        return Tally().losses
    settings = {**before.settings, "retention": msgspec.to_builtins(wanted.retention)}
    return retention_losses.after_settings(app, guid, settings)


def of_hypervisor(app: App, guid: str) -> Losses:
    """A hypervisor with the records of its machines and snapshots.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        place = SqlCatalogue(sql).places.hypervisor(guid)
        tally.item("hypervisor", "removed", guid, place.name)
        tally.add(loss_rows.machines(sql, "removed", loss_rows.machines_on(guid)))
        tally.add(loss_rows.snapshots(sql, "forgotten", loss_rows.snapshots_on(guid)))
    return tally.losses


def of_missed_machines(app: App, guid: str) -> Losses:
    """The missed machines of a hypervisor, which become absent.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        SqlCatalogue(sql).places.hypervisor(guid)
        tally.add(loss_rows.machines(sql, "absent", loss_rows.missed_on(guid)))
    if tally.losses.total:
        tally.note("the retention of absent machines begins for their backups")
    return tally.losses


def of_machine(app: App, guid: str, scope: Scope) -> Losses:
    """The record of a machine.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        machine = SqlCatalogue(sql, scope).machines.get(guid)
        tally.item("machine", "removed", guid, machine.name)
        tally.add(loss_rows.snapshots(sql, "forgotten", loss_rows.snapshots_of(guid)))
    return tally.losses


def of_absent_machines(app: App, scope: Scope) -> Losses:
    """The absent machines that have neither backups nor tasks."""
    tally = Tally()
    with app.store.read() as sql:
        tally.add(loss_rows.machines(sql, "removed", loss_rows.forgettable(scope)))
    return tally.losses


def of_missing_backup(app: App, guid: str, scope: Scope) -> Losses:
    """A missing backup, whose record is given up.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        backup = SqlCatalogue(sql, scope).backups.locations(guid)[0]
        tally.add(loss_rows.backups(sql, "given up", loss_rows.among("backup", [backup.guid])))
    tally.note("data that only this backup needs is deleted by the next clean-up")
    return tally.losses


def of_user(app: App, guid: str) -> Losses:
    """A user with API tokens.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        tally.item("user", "removed", guid, accounts.one_account(sql, guid).login)
        for token in accounts.api_tokens(sql, guid):
            tally.item("token", "revoked", token.guid, token.name)
    return tally.losses


def of_record(app: App, who: Caller, kind: RecordKind, guid: str) -> Losses:
    """A record with the records that belong to it.  Raises NotFound."""
    tally, rules = Tally(), [guid] if kind.name == "rule" else []
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope).records
        record = known.get(kind.name, guid)
        note = _HISTORY if kind.name == "schedule" else ""
        tally.item(kind.words, "removed", guid, record.name, note)
        if below := _BELOW.get(kind.name):
            for rule in known.of_kind(below, guid):
                tally.item(below.replace("-", " "), "removed", rule.guid, rule.name)
                rules += [rule.guid] if below == "rule" else []
            tally.add(loss_rows.machines(sql, "without policy", loss_rows.governed(guid)))
        if kind.name in policies.FIRED:
            for schedule in known.of_kind("schedule"):
                if guid in {ref["guid"] for ref in schedule.body.get("rules", ())}:
                    tally.item("schedule", "without this rule", schedule.guid, schedule.name)
        if kind.name == "schedule":
            for rule in record.body.get("rules", ()):
                tally.item("rule", "without this schedule", rule["guid"], rule.get("name", ""))
    for removed in rules:
        retention_losses.add_after_rule(app, tally, removed, None, who.scope)
    return tally.losses


def of_changed_record(app: App, who: Caller, sent: RequestRecord, guid: str) -> Losses:
    """The backups that a changed rule would remove; no items for other records."""
    if sent.kind.name != "rule":
        return Tally().losses
    tally = Tally()
    rule: Record = drafted(app, who, guid, sent)
    retention_losses.add_after_rule(app, tally, guid, rule, who.scope)
    return tally.losses
