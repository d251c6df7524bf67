"""The catalogue between server and node: pages for extracts, and backups that a node found."""

from __future__ import annotations

from haulback.contract.catalogue import ITEMS, CataloguePage, FoundBackup
from haulback.errors import Conflict, Malformed
from haulback.kinds.support.second_copies import SOURCE
from haulback.kinds.support.second_copies import TYPE as SYNC
from haulback.server.caller import Node
from haulback.server.services import node_tasks
from haulback.server.services.app import App
from haulback.server.store import catalogue_pages, found_backups
from haulback.server.store.found_backups import FindingTask
from haulback.tasks.record import Task

_WRITERS = frozenset(("BACKUP_CLEANUP", "DELETE", SYNC))
_KINDS = ("", "entity", "backup")


def page(app: App, who: Node, guid: str, after: str) -> CataloguePage:
    """A page of the catalogue of the destination of a task, for an extract.

    Raises Conflict for a task that writes no extract, Malformed for a cursor of another form.
    """
    if after.partition(":")[0] not in _KINDS:
        raise Malformed("after: send the cursor of the page before", field="after")
    with app.store.read() as sql:
        task = node_tasks.mine(sql, who, guid)
        if task.type not in _WRITERS:
            raise Conflict(f"a task of type {task.type} writes no extract of the catalogue")
        return catalogue_pages.page(sql, _destination(task), after, ITEMS)


def take(app: App, who: Node, guid: str, backups: list[FoundBackup]) -> int:
    """Insert backups that a node found on a destination; returns the number of new backups.

    A page that was sent before changes nothing.  Raises Conflict for a task of another kind.
    """
    with app.store.write() as sql:
        task = node_tasks.mine(sql, who, guid, lock=True)
        if task.type != SYNC or task.params.get(SOURCE):
            raise Conflict(f"this task of type {task.type} does not read a catalogue")
        finding = FindingTask(_destination(task), guid, app.clock.now_ms())
        added = found_backups.add(sql, backups, finding)
        node_tasks.keep_lease(app, sql, task)
    return added


def _destination(task: Task) -> str:
    return task.ref("backupDestination") or ""
