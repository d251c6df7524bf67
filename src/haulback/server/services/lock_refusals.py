"""Events about refused removals of locked backups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from haulback.contract.events import Event, EventKind
from haulback.errors import Conflict
from haulback.server.caller import Caller
from haulback.server.services.app import App
from haulback.server.store import events
from haulback.server.store.catalogue import SqlCatalogue

LOCKED = "locked"  # the detail of a Conflict that names a locked backup


@contextmanager
def told(app: App, who: Caller) -> Iterator[None]:
    """Add an event when a lock refuses the change; the change itself is rolled back before."""
    try:
        yield
    except Conflict as error:
        if guid := error.details.get(LOCKED):
            _tell(app, who, str(guid), error.message)
        raise


def _tell(app: App, who: Caller, guid: str, why: str) -> None:
    with app.store.write() as sql:
        backup = SqlCatalogue(sql).backups.get(guid)
        event = Event(
            kind=EventKind.LOCK_REFUSED,
            time=app.clock.now_ms(),
            subject=guid,
            subject_name=backup.entity_name,
            project=backup.project,
            text=f"{who.name} asked for the removal of a locked backup: {why}",
            data={"lockUntil": backup.keep_until},
        )
        events.add(sql, event)
