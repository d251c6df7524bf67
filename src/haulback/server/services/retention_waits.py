"""Rules of an earlier version: their retention removes nothing before a user confirms it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from haulback.contract.alarms import AlarmKind
from haulback.contract.events import Event, EventKind
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
    """Raise an alarm and an event about each rule whose retention would remove these backups.

    People are told once of each rule.
    """
    by_rule: dict[str, int] = defaultdict(int)
    for item in going:
        by_rule[item.rule or ""] += 1
    for rule in sorted(by_rule):
        record = book.rule(rule)
        if record and retention.told(sql, rule, now):
            _tell(sql, record, now)


def confirm(app: App, who: Caller, rules: Sequence[str] | None) -> None:
    """Let the retention of these rules, or of all that the caller may change, remove backups.

    Raises NotFound, Forbidden.
    """
    with app.change(who, "confirm retention") as change:
        known = SqlCatalogue(change.sql, who.scope)
        if rules is None:
            waiting = list(retention.waiting(change.sql))
            rules = [guid for guid in waiting if _is_changeable(known, guid)]
        for guid in rules:
            known.records.changeable("rule", guid)
        change.after = end(change.sql, rules, change.now)
        change.silent = not change.after


def _is_changeable(known: SqlCatalogue, guid: str) -> bool:
    try:
        known.records.changeable("rule", guid)
    except (Forbidden, NotFound):
        return False
    return True


def end(sql: Connection, rules: Iterable[str], now: int) -> list[str]:
    """End the wait of rules that a user confirmed or removed; the rules that waited."""
    ended = retention.confirm(sql, rules)
    SqlLedger(sql, now).alarms.clear_many(AlarmKind.RETENTION_WAITS, ended)
    return ended


def _tell(sql: Connection, rule: Record, now: int) -> None:
    text = (
        f"the retention of the rule {rule.name} was stored by an earlier version and would remove "
        f"backups; look at `haulback retention preview {rule.name}`, then "
        f"`haulback retention confirm {rule.name}`"
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
