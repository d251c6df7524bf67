"""Exports that wait in the staging of a silent node: other nodes repeat the exports."""

from __future__ import annotations

from haulback.inventory.reach import Nodes, common
from haulback.server.services.app import App
from haulback.server.store import lost_staging, pins, task_lifecycle
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Task

# Leases after which the staging of a silent node counts as lost: a restart of the node's machine
# takes minutes, and a full export that is read again may take hours.
_LEASES = 10


def move_due(app: App) -> int:
    """Restart the plans of such exports if another node can do them; returns their number.

    An export waits if no other node reaches its hypervisor and destination: its node may return.
    """
    now = app.clock.now_ms()
    before = now - _LEASES * app.lease_ms
    if app.watched_since > before:
        return 0  # no node could reach a server that was not running
    with app.store.read() as sql:
        silent = lost_staging.silent(sql, before, now)
    moved = 0
    for node in silent:
        with app.store.write() as sql:
            moves, known = app.task_changes(sql), SqlCatalogue(sql)
            heard = lost_staging.heard_since(sql, before)
            for task in lost_staging.waiting(sql, node):
                moved += _move(moves, known, task, heard - {node})
    return moved


def _move(
    moves: task_lifecycle.TaskChanges, known: SqlCatalogue, task: Task, others: frozenset[str]
) -> bool:
    able: Nodes | None = common(pins.places_of(task, known))
    if not (others if able is None else able & others):
        return False
    name = known.places.node_names().get(task.pinned_node, "of the export")
    moves.begin_again(
        task,
        f"its export is in the staging of node {name}, which is silent: the export counts "
        "as lost, and another node exports the machine again",
    )
    return True
