"""Retention marks on backups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from haulback.errors import Conflict
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.policy.retention import StoredBackup
from haulback.server.caller import Caller
from haulback.server.services import lock_refusals, retention_run
from haulback.server.services.app import App
from haulback.server.services.retention_terms import TermsBook
from haulback.server.store import backups, retention
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.wire import JsonObject


class Mark(NamedTuple):
    """A backup before and after the mark is set."""

    before: Backup
    after: Backup


def mark(app: App, who: Caller, decide: Callable[[Catalogue, int], list[Mark]]) -> None:
    """Set the marks that `decide` derives from the catalogue at a time (epoch ms)."""
    try:
        _mark(app, who, decide)
    except Conflict as error:
        lock_refusals.tell(app, who, error)
        raise


def _mark(app: App, who: Caller, decide: Callable[[Catalogue, int], list[Mark]]) -> None:
    with app.change(who, "mark backups") as change:
        known = SqlCatalogue(change.sql, who.scope)
        marks = [one for one in decide(known, change.now) if one.before != one.after]
        # All transactions lock in this order.
        for one in sorted(marks, key=lambda item: item.before.guid):
            backups.mark(change.sql, one.before.guid, _values(one.after))
        change.before = {one.before.guid: one.before.hint for one in marks}
        change.after = {one.after.guid: _values(one.after) for one in marks}
        change.silent = not marks


class MarkEffect(NamedTuple):
    """The marked backups, then other backups that would no longer be kept or removed, and the guids
    of all backups that would be removed.
    """

    marks: list[Mark]
    going: set[str]


def preview(app: App, who: Caller, decide: Callable[[Catalogue, int], list[Mark]]) -> MarkEffect:
    """The effect that marks would have at the next clean-up, computed by the code of the
    clean-up.
    """
    with app.store.read() as sql:
        now, known = app.clock.now_ms(), SqlCatalogue(sql, who.scope)
        wishes = decide(known, now)
        marked = {wish.before.guid: wish.after for wish in wishes}
        changes, going = set[str](), set[str]()
        machines: dict[str, set[str]] = defaultdict(set)
        for wish in wishes:
            machines[wish.before.destination].add(wish.before.entity)
        for destination, entities in sorted(machines.items()):
            stored = retention.of_entities(sql, destination, entities)
            before = _going(sql, stored, now)
            after = _going(sql, [_as_marked(item, marked.get(item.guid)) for item in stored], now)
            changes |= before ^ after
            going |= after
        others = [known.backups.get(guid) for guid in sorted(changes - marked.keys())]
        return MarkEffect([*wishes, *(Mark(other, other) for other in others)], going)


def going(app: App, who: Caller, decide: Callable[[Catalogue, int], list[Mark]]) -> list[str]:
    """The guids of the backups that are removed with the marks of `decide` but kept without
    them.
    """
    effect = preview(app, who, decide)
    changed = [item.after for item in effect.marks if item.before.hint != item.after.hint]
    others = [item.after for item in effect.marks if item.before == item.after]
    return sorted({item.guid for item in (*changed, *others) if item.guid in effect.going})


def _going(sql: Connection, stored: Iterable[StoredBackup], now: int) -> set[str]:
    found = retention_run.verdicts(sql, TermsBook(sql), stored, now)
    return {verdict.location.guid for verdict in found if verdict.goes}


def _as_marked(item: StoredBackup, after: Backup | None) -> StoredBackup:
    if after is None:
        return item
    return msgspec.structs.replace(item, hint=after.hint, keep_until=after.keep_until)


def _values(after: Backup) -> JsonObject:
    return {"hint": after.hint, "keep_until": after.keep_until}
