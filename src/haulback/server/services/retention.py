"""Retention marks on backups."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.server.caller import Caller
from haulback.server.services.app import App
from haulback.server.store import backups
from haulback.server.store.catalogue import SqlCatalogue
from haulback.wire import JsonObject


class Mark(NamedTuple):
    """A backup, and the same backup once the mark is set."""

    before: Backup
    after: Backup


def mark(app: App, who: Caller, decide: Callable[[Catalogue, int], list[Mark]]) -> None:
    """Write the marks that `decide` makes of the catalogue at a time (epoch ms)."""
    with app.change(who, "mark backups") as change:
        known = SqlCatalogue(change.sql, who.scope)
        marks = [one for one in decide(known, change.now) if one.before != one.after]
        for one in marks:
            backups.write(change.sql, one.before.guid, _values(one.after))
        change.before = {one.before.guid: one.before.hint for one in marks}
        change.after = {one.after.guid: _values(one.after) for one in marks}
        change.silent = not marks


def _values(after: Backup) -> JsonObject:
    return {"hint": after.hint, "keep_until": after.keep_until}
