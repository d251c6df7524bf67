"""Waiting restores, mounts and proofs that continue at another location of their backup."""

from __future__ import annotations

import logging

from haulback.contract.order_records import BackupDestination
from haulback.errors import Conflict, NotFound
from haulback.inventory import reach
from haulback.inventory.reach import Place
from haulback.inventory.records import Backup
from haulback.kinds.support.backup_choice import chosen, reached_by, references
from haulback.logs import members
from haulback.server.services.app import App
from haulback.server.store import breakers, pins, tasks, waiting_readers
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Task
from haulback.wire import Ref

log = logging.getLogger(__name__)


def move_due(app: App) -> int:
    """Move waiting tasks from destinations that do not answer; returns the number of moved tasks.

    Each tick checks some tasks, and the next tick continues after them, so that tasks which no
    other node can take do not block the others.
    """
    with app.store.read() as sql:
        if not breakers.open_ones(sql):
            return 0
        guids = waiting_readers.waiting(sql, app.readers_after)
    app.readers_after = guids[-1] if len(guids) == waiting_readers.MOST else ""
    return sum(_moved(app, guid) for guid in guids)


def _moved(app: App, guid: str) -> bool:
    with app.store.write() as sql:
        task = tasks.find(sql, guid, lock=True)
        if task is None or task.state != "QUEUED":
            return False
        known = SqlCatalogue(sql)
        bound, others = pins.bound_to(task), _other_places(task, known)
        backup = _answering(task, bound, others, known)
        if backup is None:
            return False
        refs = {role: ref for role, ref in references(backup, known).items() if ref}
        to = known.places.destination(backup.destination)
        pin = task.pinned_node if bound else reach.pin(*others, to)
        waiting_readers.move(sql, task, refs, pin, app.clock.now_ms())
    about = members(task=guid, type=task.type, destination=to.name)
    log.info("task reads from another destination: the first one does not answer", extra=about)
    return True


def _other_places(task: Task, known: SqlCatalogue) -> list[Place]:
    """The hypervisor and destinations of a task, without the destination that it reads from."""
    reads = task.ref("backupDestination")
    return [place for place in pins.places_of(task, known) if place.guid != reads]


def _answering(
    task: Task, bound: str | None, others: list[Place], known: SqlCatalogue
) -> Backup | None:
    """Another location of a task's backup, on a reachable destination that answers, or None."""

    def reaches(to: BackupDestination) -> bool:
        return reached_by(bound)(to) if bound else reach.common((*others, to)) != frozenset()

    try:
        backup = chosen(Ref(task.ref("backup") or ""), None, known, reaches)
    except (Conflict, NotFound):
        return None
    to = known.places.destination(backup.destination)
    return None if backup.destination in known.places.away() or not reaches(to) else backup
