"""Events about locks that refused the removal of a backup."""

from __future__ import annotations

from haulback.contract.events import Event, EventKind
from haulback.errors import HaulbackError
from haulback.server.caller import Caller
from haulback.server.services.app import App
from haulback.server.store import events
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.wire import JsonMapping


def tell(app: App, who: Caller, error: HaulbackError) -> None:
    """Add an event if `error` is the refusal of a lock; the refused transaction wrote none.

    The details of such an error have `backup` (a guid) and `lockedUntil`.
    """
    if "lockedUntil" in error.details:
        with app.store.write() as sql:
            add(sql, who, error.message, error.details, app.clock.now_ms())


def add(sql: Connection, who: Caller, message: str, details: JsonMapping, now: int) -> None:
    """Add an event, in a transaction, if `details` belong to the refusal of a lock."""
    if "lockedUntil" not in details:
        return
    backup = SqlCatalogue(sql).backups.get(str(details["backup"]))
    event = Event(
        kind=EventKind.LOCK_REFUSED,
        time=now,
        subject=backup.guid,
        subject_name=backup.entity_name,
        project=backup.project,
        rule=backup.rule,
        text=f"a deletion by {who.name} was refused: {message}",
        data={"user": who.name},
    )
    events.add(sql, event)
