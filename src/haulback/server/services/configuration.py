"""Configuration records: policies, rules, schedules, networks and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from haulback.contract.records import PolicyRecord
from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.managers import SEEN, cluster_of, manager_of
from haulback.inventory.records import Record
from haulback.server.caller import Caller
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.services import (
    assignment,
    credentials,
    mailing_lists,
    notifications,
    ownership,
    policies,
    protection,
    schedules,
)
from haulback.server.services.app import App, AuditedChange
from haulback.server.services.policies import Member, PolicyMembers
from haulback.server.services.read_transaction import Reading
from haulback.server.services.record_kinds import RECORD_KINDS, RecordKind
from haulback.server.store import configuration, evaluations, lists, policy_rpos, retention
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.evaluations import EvaluationKind
from haulback.wire import JsonObject, parse

# Kinds of records that cannot be removed while a record refers to them, with those that refer.
_HELD = {
    "hypervisor-manager": ("hypervisor-cluster", "hypervisor-storage", "network", "flavor"),
}


class ConfigurationReading(Reading):
    """Read access to configuration records within one transaction."""

    def page(self, kind: str, wanted: ListQuery) -> tuple[list[Record], int]:
        """A page of records of one kind ordered by name, and the number of all."""
        return lists.kept(self._sql, kind, wanted)

    def members(self, policy: Record) -> list[Member]:
        """The machines of a policy that the caller sees, ordered by name."""
        return policies.members_of(self._sql, self.scope, policy)

    def rpo(self, policy: str) -> int | None:
        """The RPO of a backup policy in ms, None without a limit."""
        return policy_rpos.rpo(self._sql, policy)

    def waiting_rules(self) -> frozenset[str]:
        """Rules whose retention waits for a confirmation."""
        return frozenset(retention.waiting(self._sql))

    def clock(self, schedule: str) -> JsonObject:
        """The members of a schedule that are derived from its times."""
        return schedules.times(self._sql, schedule)


class RequestRecord(NamedTuple):
    """A record of a request: `read` returns the struct or raises Malformed."""

    kind: RecordKind
    read: Callable[[], PolicyRecord]
    body: bytes


T = TypeVar("T")
Show = Callable[[Record, ConfigurationReading], T]


def add(app: App, who: Caller, sent: RequestRecord, show: Show[T]) -> T:
    """Add a record with the members that belong to other records; returns the record as shown.

    `show` reads within the transaction, so that an error of the view adds nothing.
    Raises Malformed, NotFound, Conflict, Forbidden.
    """
    with app.change(who, f"add {sent.kind.words}") as change:
        record = add_within(app, change, who, sent)
        is_walked = _is_assigned_now(record)
        change.subject, change.after = record.guid, credentials.shown(record)
        shown = show(record, ConfigurationReading(change.sql, who.scope))
    return _assigned(app, who, record, show) if is_walked else shown


def add_within(app: App, change: AuditedChange, who: Caller, sent: RequestRecord) -> Record:
    """Add a record in a transaction of the caller, and request the auto-assignment of a policy.

    Raises Malformed, NotFound, Conflict, Forbidden.
    """
    kind = sent.kind
    record = _record(who.scope, kind, sent.read(), SqlCatalogue(change.sql, who.scope))
    record.created = record.modified = change.now
    if kind.secrets:
        record = kind.sealed(app.vault, record, None)
    configuration.add(change.sql, record)
    members = PolicyMembers(change.sql, who.scope, change.now)
    _keep_apart(members, record, sent, fresh=True)
    _follow(change.sql, record, change.now)
    return record


def change(app: App, who: Caller, guid: str, sent: RequestRecord, show: Show[T]) -> T:
    """Change a record; members that scans write stay.  Returns the record as shown.

    `show` reads within the transaction, so that an error of the view changes nothing.
    Raises Malformed, NotFound, Conflict, Forbidden.
    """
    kind = sent.kind
    with app.change(who, f"change {kind.words}", guid) as change:
        known = SqlCatalogue(change.sql, who.scope)
        before = known.records.changeable(kind.name, guid)
        record = _record(who.scope, kind, sent.read(), known, before)
        record.created, record.modified = before.created, change.now
        record.body |= {k: before.body[k] for k in (*SEEN, "derived") if k in before.body}
        if kind.secrets:
            record = kind.sealed(app.vault, record, before)
        configuration.change(change.sql, record)
        members = PolicyMembers(change.sql, who.scope, change.now)
        if record.project != before.project:
            ownership.hand_down(change.sql, record)
            if kind.name in policies.OWNED:
                members.handed_over(record)
        _keep_apart(members, record, sent, fresh=False)
        _follow(change.sql, record, change.now)
        is_walked = _is_assigned_now(record)
        change.before, change.after = credentials.shown(before), credentials.shown(record)
        shown = show(record, ConfigurationReading(change.sql, who.scope))
    return _assigned(app, who, record, show) if is_walked else shown


def drafted(app: App, who: Caller, guid: str, sent: RequestRecord) -> Record:
    """The record that a change would store.  Raises NotFound, Malformed, Forbidden."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        before = known.records.changeable(sent.kind.name, guid)
        return _record(who.scope, sent.kind, sent.read(), known, before)


def _follow(sql: Connection, record: Record, now: int) -> None:
    """Request the auto-assignment of a saved policy, and compute the RPO of policies."""
    if _is_assigned_now(record):
        evaluations.request(sql, EvaluationKind.POLICY, record.guid)
    protection.compute_rpos(sql, now)


def _is_assigned_now(record: Record) -> bool:
    return record.body.get("executeAutoAssignmentAfterSavingPolicy") is True


def _assigned(app: App, who: Caller, record: Record, show: Show[T]) -> T:
    """Carry out the requested auto-assignment; returns the policy with its machines afterwards."""
    assignment.assign_now(app, record.guid)
    with ConfigurationReading.of(app, who.scope) as reading:
        return show(record, reading)


def remove(app: App, who: Caller, kind: RecordKind, guid: str) -> None:
    """Remove a record with the records that belong to it.  Raises NotFound, Conflict, Forbidden."""
    with app.change(who, f"remove {kind.words}", guid) as change:
        members = PolicyMembers(change.sql, who.scope, change.now)
        record = members.known.records.changeable(kind.name, guid)
        _check_unused(members.known, kind.name, guid)
        if kind.name in policies.OWNED:
            members.without_policy(record)
        if kind.name in policies.FIRED:
            members.without_rule(record)
        configuration.remove(change.sql, guid)
        change.before = credentials.shown(record)


def _check_unused(known: Catalogue, kind: str, guid: str) -> None:
    """Raises Conflict while records or hypervisors belong to a record."""
    if kind == mailing_lists.KIND:
        mailing_lists.check_unused(known, guid)
    if kind == credentials.KIND:
        credentials.check_unused(known, guid)
    if kind == notifications.CHANNEL:
        notifications.check_unused(known, guid)
    for below in _HELD.get(kind, ()):
        for record in known.records.of_kind(below, guid):
            if not record.body.get("derived"):
                words = below.replace("-", " ")
                raise Conflict(
                    f"the {words} {record.name} belongs to this record; remove the {words} first"
                )
    place_of = {"hypervisor-manager": manager_of, "hypervisor-cluster": cluster_of}.get(kind)
    for hypervisor in known.places.hypervisors() if place_of else ():
        if place_of and place_of(hypervisor) == guid:
            raise Conflict(
                f"the hypervisor {hypervisor.name} belongs to this record; move the "
                "hypervisor to another record first"
            )


def _record(
    scope: Scope,
    kind: RecordKind,
    wanted: PolicyRecord,
    known: Catalogue,
    before: Record | None = None,
) -> Record:
    """The record that a request describes.  Raises Malformed, NotFound, Forbidden."""
    wanted = policies.completed(wanted, before)
    kind.check_record(wanted, known)
    above = None
    if kind.parent and (ref := getattr(wanted, kind.parent[0])):
        above = known.records.get(kind.parent[1], ref.guid)
    elif kind.parent and kind.name in policies.RULES and before and before.parent:
        above = known.records.get(kind.parent[1], before.parent)  # a rule stays with its policy
    return Record(
        guid=before.guid if before else new_guid(),
        kind=kind.name,
        name=wanted.name,
        parent=above.guid if above else "",
        project=ownership.owner(scope, wanted, before, above),
        body=policies.body_of(wanted, kind.parent[0] if kind.parent else None),
    )


def _keep_apart(
    members: PolicyMembers, record: Record, sent: RequestRecord, *, fresh: bool
) -> None:
    """Store the members of a request that belong to other records.

    Raises Malformed, NotFound, Conflict.
    """
    kind, given, wanted = sent.kind, parse(sent.body), sent.read()
    if kind.name in policies.FIRED:
        members.fired_by(record, getattr(wanted, "schedules", None))
    if (owned := policies.OWNED.get(kind.name)) is None:
        return
    if (machines := getattr(wanted, "vms", None)) is not None:
        members.members(record, machines)
    if getattr(wanted, "rules", None) is not None:
        rule_kind = RECORD_KINDS[owned.kind]
        members.rules(record, given["rules"], rule_kind.check_record, fresh=fresh)
