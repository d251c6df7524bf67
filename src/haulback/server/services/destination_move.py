"""Moves of destinations: the same repository at another location."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_move import MovedDestination
from haulback.contract.order_records import BackupDestination
from haulback.errors import Conflict, Malformed
from haulback.inventory import destination_types
from haulback.inventory.reach import nodes_of
from haulback.kinds import destination_move
from haulback.kinds.api import Context
from haulback.server.caller import Caller
from haulback.server.services import destination_secrets, folders
from haulback.server.services.app import App
from haulback.server.services.destinations import check_single_writer
from haulback.server.services.place_fields import changed_reach
from haulback.server.store import node_groups, pins, queue, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.tasks.record import Task


def move(
    app: App, guid: str, wanted: MovedDestination, who: Caller
) -> tuple[BackupDestination, Task]:
    """Plan the move; the task probes the new location before the record changes.

    Raises NotFound, Malformed, Conflict while a task runs on the destination.
    """
    with app.change(who, "move destination", guid) as change:
        sql = change.sql
        before = SqlCatalogue(sql).places.destination(guid)
        kind = destination_types.chosen(None, before.driver)
        given = destination_types.moved(kind, wanted.settings or {})
        reach = changed_reach(sql, wanted, before)
        after = msgspec.structs.replace(
            before, config=before.config | given.plain, node=reach.node, nodes=reach.nodes
        )
        _check(sql, before, after)
        after = folders.with_delay(after)
        after = destination_secrets.changed(app.vault, after, given.secrets)
        if nodes := nodes_of(after):
            node_groups.add(sql, nodes)
        task = destination_move.task(before, after, Context(change.now))
        tasks.insert(sql, [task])
        change.before, change.after = map(destination_secrets.shown, (before, after))
    app.wakeups.ring()
    return before, task


def _check(sql: Connection, before: BackupDestination, after: BackupDestination) -> None:
    if before.repository is None:
        raise Conflict(
            f"{before.name} has no repository yet: remove the destination, and add it at its "
            "new location"
        )
    if before.config == after.config and nodes_of(before) == nodes_of(after):
        raise Malformed(
            "path: the destination is already at this location; name the new location", field="path"
        )
    if queue.has_task(sql, destination_move.TYPE, before.guid):
        raise Conflict(
            f"{before.name} is being moved already; wait for the end of its BACKUP_DESTINATION_MOVE"
        )
    pins.check_idle(sql, before)
    pins.check_held(sql, after)
    check_single_writer(after)
    folders.check(sql, after)
