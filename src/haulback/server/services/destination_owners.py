"""Owners of destinations: orders name the owner, and plans that write to the destination of another
server are refused.
"""

from __future__ import annotations

import socket

import msgspec

from haulback.contract.order_records import BackupDestination, Owner
from haulback.errors import Conflict
from haulback.inventory.repository_revision import WRITING
from haulback.kinds.support.second_copies import SOURCE
from haulback.kinds.support.second_copies import TYPE as SYNC
from haulback.server.store import epoch
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.tasks.record import Plan, Task

# The setting that marks a destination that came with a repository of another server.
ATTACHED = "attached"


def own(sql: Connection) -> Owner:
    """The guid and the name of this server, as written in owner records."""
    return Owner(server=epoch.server_of(sql), name=socket.gethostname()[:200])


def is_ours(sql: Connection, to: BackupDestination) -> bool:
    """Whether this server may write to a destination, as far as the catalogue knows."""
    if not to.owner.server:  # an attached repository without owner records may have an active owner
        return not to.settings.get(ATTACHED)
    return to.owner.server == epoch.server_of(sql)


def check(sql: Connection, plan: Plan) -> None:
    """Raises Conflict for a plan that writes to the destination of another server.

    A copy that follows a backup fails on its node, so that it never stops the backup.
    """
    known = SqlCatalogue(sql)
    wanted = {guid for task in (*plan.tasks, *plan.besides) if (guid := _written(task))}
    for guid in wanted:
        to = known.places.destination(guid)
        if not is_ours(sql, to):
            raise Conflict(
                f"{to.name} belongs to {owner_of(to)}: this server may only read the "
                f"destination; to write there run haulback destination take-over {to.name}"
            )


def owner_of(to: BackupDestination) -> str:
    """The owner of a destination in words."""
    name = to.owner.name or to.owner.server
    return f"the server {name}" if name else "the server that made its repository"


def _written(task: Task) -> str | None:
    follows_backup = task.type == SYNC and task.follows is not None
    if task.type not in WRITING or is_reading(task) or follows_backup:
        return None
    return task.ref("backupDestination")


def is_reading(task: Task) -> bool:
    """Whether a task reads the catalogue of a destination, which every server may read."""
    return task.type == SYNC and not task.params.get(SOURCE)


def with_owner(sql: Connection, task: Task, order: msgspec.Struct) -> msgspec.Struct:
    """The order of a task, with this server as the owner of the destination that it writes to.

    Destinations that a task only reads have no owner in the order, because every server may read.
    """
    changes = {
        name: msgspec.structs.replace(value, owner=Owner())
        for name in order.__struct_fields__
        if isinstance(value := getattr(order, name), BackupDestination)
    }
    if is_reading(task):
        return msgspec.structs.replace(order, **changes, reader=own(sql))
    to = getattr(order, "destination", None)
    if task.type in WRITING and isinstance(to, BackupDestination):
        server = own(sql)
        number = to.owner.number if to.owner.server == server.server else 0
        mine = msgspec.structs.replace(server, number=number)
        changes["destination"] = msgspec.structs.replace(to, owner=mine)
    return msgspec.structs.replace(order, **changes)
