"""Plans of backups of the server's own database."""

from __future__ import annotations

from haulback.contract.export import ExportRequest
from haulback.inventory.own_server import OWN_ENTITY
from haulback.kinds import export
from haulback.kinds.api import Context
from haulback.server.store import own_server
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.tasks.record import Plan
from haulback.wire import Ref


def plan(sql: Connection, context: Context, destination: str | None = None) -> Plan:
    """The tasks that back up the server's own database; the default destination is the only one.

    Raises Malformed, NotFound.
    """
    own_server.add(sql, context.now)
    to = Ref(destination) if destination else None
    wanted = ExportRequest(protectedEntities=[Ref(OWN_ENTITY)], backupDestination=to)
    return export.plan(wanted, SqlCatalogue(sql), context)
