"""The retention of rules and destinations of an earlier version waits until a user confirms it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from haulback.contract.alarms import AlarmKind
from haulback.contract.events import Event, EventKind
from haulback.contract.order_records import BackupDestination
from haulback.errors import Forbidden, NotFound
from haulback.inventory.records import Record
from haulback.policy.retention import StoredBackup
from haulback.server.caller import Caller
from haulback.server.services.app import App
from haulback.server.services.retention_terms import TermsBook
from haulback.server.store import events, retention
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.wire import Named


def tell(sql: Connection, book: TermsBook, going: Iterable[StoredBackup], now: int) -> None:
    """Raise an alarm and an event for each rule and destination that would remove these backups.

    Each rule and destination is reported once.
    """
    known = SqlCatalogue(sql).places
    for owner in sorted({book.owner(item) for item in going}):
        if not retention.mark_alarmed(sql, owner, now):
            continue
        if rule := book.rule(owner):
            _tell(sql, rule, now)
        else:
            _tell_destination(sql, known.destination(owner), now)


def confirm(app: App, who: Caller, owners: Sequence[str] | None) -> None:
    """Allow the retention of these rules and destinations, or of all of the caller's, to remove
    backups.

    Raises NotFound, Forbidden.
    """
    with app.change(who, "confirm retention") as change:
        known = SqlCatalogue(change.sql, who.scope)
        if owners is None:
            waiting = list(retention.waiting(change.sql))
            owners = [guid for guid in waiting if is_changeable(known, who, guid)]
        for guid in owners:
            check_changeable(known, who, guid)
        change.after = end(change.sql, owners, change.now)
        change.silent = not change.after


def check_changeable(known: SqlCatalogue, who: Caller, guid: str) -> None:
    """Check that the caller can confirm the retention of a rule or a destination.

    Raises NotFound, and Forbidden for a destination if the caller is restricted to projects.
    """
    try:
        destination = known.places.destination(guid)
    except NotFound:
        known.records.changeable("rule", guid)
    else:
        who.scope.check_change(None, destination.name)


def is_changeable(known: SqlCatalogue, who: Caller, guid: str) -> bool:
    """Whether the caller can confirm the retention of a rule or a destination."""
    try:
        check_changeable(known, who, guid)
    except (Forbidden, NotFound):
        return False
    return True


def end(sql: Connection, owners: Iterable[str], now: int) -> list[str]:
    """End the wait of rules and destinations; returns the guids that waited."""
    ended = retention.confirm(sql, owners)
    SqlLedger(sql, now).alarms.clear_many(AlarmKind.RETENTION_WAITS, ended)
    return ended


def _tell(sql: Connection, rule: Record, now: int) -> None:
    typed = shlex.quote(rule.name)
    text = (
        f"an earlier version stored the retention of the rule {rule.name}, which would "
        f"remove backups; run `haulback retention preview {typed}`, then `haulback "
        f"retention confirm {typed}`"
    )
    named = Named(rule.guid, rule.name)
    SqlLedger(sql, now).alarms.report(
        AlarmKind.RETENTION_WAITS, named, text, {"policy": rule.parent}
    )
    event = Event(
        kind=EventKind.RETENTION_WAITS,
        time=now,
        subject=rule.guid,
        subject_name=rule.name,
        project=rule.project,
        policy=rule.parent or None,
        text=text,
    )
    events.add(sql, event)


def _tell_destination(sql: Connection, destination: BackupDestination, now: int) -> None:
    text = (
        f"an earlier version stored the retention of the destination {destination.name}, "
        "which would remove backups every night; run `haulback destination ls`, then "
        f"`haulback retention confirm --destination {shlex.quote(destination.name)}`"
    )
    named = Named(destination.guid, destination.name)
    SqlLedger(sql, now).alarms.report(AlarmKind.RETENTION_WAITS, named, text, {})
    event = Event(
        kind=EventKind.RETENTION_WAITS,
        time=now,
        subject=named.guid,
        subject_name=destination.name,
        text=text,
    )
    events.add(sql, event)
