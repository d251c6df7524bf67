"""Changes of backup destinations that tasks report."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.server.store import tables


class DestinationLedger:
    """`inventory.ledger.DestinationChanges` on a connection."""

    def __init__(self, sql: sa.Connection) -> None:
        self._sql = sql

    def initialised(self, destination: str, repository: str) -> None:
        where = tables.destination.c.guid == destination
        self._sql.execute(sa.update(tables.destination).where(where).values(repository=repository))

    def space(self, destination: str, total: int | None, free: int | None) -> None:
        if total is None or free is None:
            return
        where = tables.destination.c.guid == destination
        values = {"total_space": total, "used_space": max(0, total - free)}
        self._sql.execute(sa.update(tables.destination).where(where).values(**values))
