"""BACKUP_DESTINATION_SYNC tasks that the server plans by itself."""

from __future__ import annotations

from haulback.kinds.api import Ask
from haulback.kinds.backup_destination_sync import reading
from haulback.server.services.app import App
from haulback.server.store import tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Task


def read_catalogue(app: App, destination: str) -> Task:
    """Plan the task that reads the catalogue of a destination.  Raises NotFound."""
    with app.store.write() as sql:
        to = SqlCatalogue(sql).places.destination(destination)
        task = reading(to, Ask(app.clock.now_ms()))
        tasks.insert(sql, [task])
    app.wakeups.ring()
    return task
