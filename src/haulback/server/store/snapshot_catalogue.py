"""Snapshots that planning reads, within a caller's projects."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.errors import NotFound
from haulback.inventory.records import PlatformSnapshot
from haulback.server.scope import Scope
from haulback.server.store import tables
from haulback.server.store.rows import one, records


class SnapshotCatalogue:
    """`inventory.catalogue.SnapshotRecords` on a connection."""

    def __init__(self, sql: sa.Connection, scope: Scope) -> None:
        self._sql, self._scope = sql, scope

    def get(self, guid: str) -> PlatformSnapshot:
        found = one(self._sql, tables.snapshot, PlatformSnapshot, guid, "snapshot")
        if not self._scope.allows(found.project):
            raise NotFound(f"there is no snapshot {guid}", guid=guid)
        return found

    def of_entity(self, entity: str) -> list[PlatformSnapshot]:
        table = tables.snapshot.c
        query = sa.select(tables.snapshot).where(table.entity == entity)
        return records(self._sql, query.order_by(table.snapshot_time.desc()), PlatformSnapshot)
