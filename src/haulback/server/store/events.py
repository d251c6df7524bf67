"""Events in the database, added in the transaction that makes the change."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.contract.events import Event
from haulback.server.store import rows
from haulback.server.store.event_tables import event as table


def add(sql: sa.Connection, event: Event) -> None:
    """Insert an event."""
    values = {**rows.row_of(event, table), "kind": event.kind.value}
    sql.execute(sa.insert(table).values(values))
