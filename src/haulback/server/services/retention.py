"""Retention marks on backups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from haulback.contract.backups import Hint
from haulback.errors import Conflict
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.policy.retention import RetentionVerdict, StoredBackup
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
    """The marked backups, then other backups that would no longer be kept or removed; the guids of
    all backups that would be removed; and the reason for each backup of these machines.
    """

    marks: list[Mark]
    going: set[str]
    reasons: dict[str, str]


def preview(app: App, who: Caller, decide: Callable[[Catalogue, int], list[Mark]]) -> MarkEffect:
    """The effect that marks would have at the next clean-up, computed by the code of the
    clean-up.
    """
    with app.store.read() as sql:
        now, known = app.clock.now_ms(), SqlCatalogue(sql, who.scope)
        wishes = decide(known, now)
        marked = {wish.before.guid: wish.after for wish in wishes}
        changes, going, reasons = set[str](), set[str](), dict[str, str]()
        machines: dict[str, set[str]] = defaultdict(set)
        for wish in wishes:
            machines[wish.before.destination].add(wish.before.entity)
        for destination, entities in sorted(machines.items()):
            stored = retention.of_entities(sql, destination, entities)
            before = _goers(_verdicts(sql, stored, now))
            hinted = [_as_marked(item, marked.get(item.guid)) for item in stored]
            ruled = _verdicts(sql, hinted, now)
            after = _goers(ruled)
            changes |= before ^ after
            going |= after
            reasons |= {item.location.guid: item.reason.value for item in ruled}
        others = [known.backups.get(guid) for guid in sorted(changes - marked.keys())]
        return MarkEffect([*wishes, *(Mark(other, other) for other in others)], going, reasons)


def going(effect: MarkEffect) -> list[str]:
    """The guids of the backups that are removed with some marks but kept without them."""
    changed = [item.after for item in effect.marks if item.before.hint != item.after.hint]
    others = [item.after for item in effect.marks if item.before == item.after]
    return sorted({item.guid for item in (*changed, *others) if item.guid in effect.going})


def staying(effect: MarkEffect) -> list[Mark]:
    """The backups that are marked for removal, but that the next clean-up keeps."""
    return [
        item
        for item in effect.marks
        if item.after.hint == Hint.TO_REMOVE.value and item.after.guid not in effect.going
    ]


def _verdicts(sql: Connection, stored: Iterable[StoredBackup], now: int) -> list[RetentionVerdict]:
    return list(retention_run.verdicts(sql, TermsBook(sql), stored, now))


def _goers(found: Iterable[RetentionVerdict]) -> set[str]:
    return {verdict.location.guid for verdict in found if verdict.goes}


def _as_marked(item: StoredBackup, after: Backup | None) -> StoredBackup:
    if after is None:
        return item
    return msgspec.structs.replace(item, hint=after.hint, keep_until=after.keep_until)


def _values(after: Backup) -> JsonObject:
    return {"hint": after.hint, "keep_until": after.keep_until}
