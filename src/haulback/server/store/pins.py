"""Pins of waiting tasks, after a change of the nodes that reach a hypervisor or destination."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from haulback.errors import Conflict, NotFound
from haulback.inventory import reach
from haulback.inventory.reach import Place
from haulback.kinds.support import second_copies
from haulback.server.store import mount_tables, tables, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task

_LIVE = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")
_PROBES = ("BACKUP_DESTINATION_MOVE",)  # tasks about another location than the recorded location
_PIECE = 500  # tasks that one query reads


def check_held(sql: sa.Connection, place: Place) -> None:
    """Raises Conflict while a node works on a hypervisor or destination that it would no longer
    reach.

    `place` is the new record, with the nodes that will reach it.
    """
    for task in _live(sql, place.guid):
        if task.type in _PROBES:
            continue
        node = task.node if task.state == "RUNNING" else bound_to(task)
        if node and not reach.reaches(node, place):
            raise Conflict(
                f"{place.name}: a task of type {task.type} on node {_name(sql, node)} uses "
                f"{place.name}; wait for the end of the task or cancel it, then remove "
                "the node",
                task=task.guid,
            )
    for node in _sharing(sql, place.guid):
        if not reach.reaches(node, place):
            raise Conflict(
                f"{place.name}: node {_name(sql, node)} has a mounted backup of "
                f"{place.name}; unmount the backup, then remove the node"
            )


def check_idle(sql: sa.Connection, place: Place, besides: str = "") -> None:
    """Raises Conflict while a task other than `besides` runs on a hypervisor or destination, or
    while one of its backups is mounted.
    """
    for task in _live(sql, place.guid):
        if task.state == "RUNNING" and task.guid != besides:
            raise Conflict(
                f"{place.name}: a task of type {task.type} uses {place.name}; wait for the end of "
                "the task or cancel it",
                task=task.guid,
            )
    if _sharing(sql, place.guid):
        raise Conflict(
            f"{place.name}: a backup of {place.name} is mounted; unmount the backup first"
        )


def renew(sql: sa.Connection, place: Place, now: int) -> None:
    """Pin the waiting tasks of a hypervisor or destination to the nodes that can now run them."""
    known = SqlCatalogue(sql)
    for task in _live(sql, place.guid):
        if task.state == "RUNNING" or bound_to(task) or task.type in _PROBES:
            continue
        pin = reach.pin(*places_of(task, known))
        if pin != task.pinned_node:
            tasks.change(sql, task, now, pinned_node=pin)


def places_of(task: Task, known: SqlCatalogue) -> list[Place]:
    """The existing hypervisors and destinations that a task uses."""
    places: list[Place] = []
    for guid in dict.fromkeys((task.ref("hypervisor"), task.params.get("from"))):
        if isinstance(guid, str) and guid:
            _append(places, known, guid, is_hypervisor=True)
    # A copy uses two destinations.
    for guid in (task.ref("backupDestination"), task.params.get("source")):
        if isinstance(guid, str) and guid:
            _append(places, known, guid, is_hypervisor=False)
    return places


def _append(found: list[Place], known: SqlCatalogue, guid: str, *, is_hypervisor: bool) -> None:
    places = known.places
    try:
        found.append(places.hypervisor(guid) if is_hypervisor else places.destination(guid))
    except NotFound:
        return


def bound_to(task: Task) -> str | None:
    """The node that holds the staging, the mount or the folder that a task needs."""
    bound = "staging" in task.params or "node" in task.refs or "mountedBackup" in task.refs
    return reach.only_node(task.pinned_node) if bound else None


def _live(sql: sa.Connection, place: str) -> Iterator[Task]:
    """The waiting and running tasks of a hypervisor or destination, read in pieces."""
    last = ""
    read = table.c.params.contains(f'"{second_copies.SOURCE}":"{place}"')
    copies = sa.and_(table.c.type == second_copies.TYPE, read)  # a copy reads from its source
    about = sa.or_(table.c.hypervisor == place, table.c.destination == place, copies)
    while True:
        query = sa.select(*tasks.COLUMNS).where(_LIVE, about, table.c.guid > last)
        rows = sql.execute(query.order_by(table.c.guid).limit(_PIECE)).all()
        if not rows:
            return
        yield from (tasks.task_of(row) for row in rows)
        last = rows[-1].guid


def _sharing(sql: sa.Connection, destination: str) -> list[str]:
    """The nodes that serve mounted backups of a destination."""
    mounted, backup = mount_tables.mounted_backup, tables.backup
    query = sa.select(mounted.c.node).join(backup, backup.c.guid == mounted.c.backup)
    query = query.where(backup.c.destination == destination, mounted.c.state == "MOUNTED")
    return list(sql.scalars(query.distinct()))


def _name(sql: sa.Connection, node: str) -> str:
    return SqlCatalogue(sql).places.node_names().get(node, "(removed)")
