"""Configuration records that planning reads, within a caller's projects."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.errors import NotFound
from haulback.inventory.records import Record
from haulback.server.scope import Scope
from haulback.server.store import recovery_plans, tables
from haulback.server.store.rows import records
from haulback.wire import Named


class RecordCatalogue:
    """`inventory.catalogue.ConfigurationRecords` on a connection."""

    def __init__(self, sql: sa.Connection, scope: Scope) -> None:
        self._sql, self._scope = sql, scope
        self._named: dict[tuple[str, str], Named] = {}

    def get(self, kind: str, guid: str) -> Record:
        query = sa.select(tables.record).where(tables.record.c.guid == guid)
        for found in records(self._sql, query, Record):
            if found.kind == kind and self._sees(found):
                return found
        raise NotFound(f"there is no {kind.replace('-', ' ')} {guid}", guid=guid)

    def named(self, kind: str, guid: str) -> Named:
        if (kind, guid) not in self._named:
            self._named[kind, guid] = Named(guid, self.get(kind, guid).name)
        return self._named[kind, guid]

    def of_kind(self, kind: str, parent: str | None = None) -> list[Record]:
        query = sa.select(tables.record).where(tables.record.c.kind == kind)
        if parent is not None:
            query = query.where(tables.record.c.parent == parent)
        return records(self._sql, query.order_by(tables.record.c.name), Record)

    def changeable(self, kind: str, guid: str) -> Record:
        """A record that the caller may change.

        Raises NotFound; raises Forbidden for a record of all projects if the caller is restricted.
        """
        found = self.get(kind, guid)
        self._scope.check_change(found.project, found.name)
        return found

    def _sees(self, record: Record) -> bool:
        """Records without a project are visible to all callers, recovery plans to callers who see
        their machines.
        """
        if not self._scope.shares(record.project):
            return False
        is_plan = record.kind == recovery_plans.RECOVERY_PLAN
        return not (is_plan and recovery_plans.hidden(self._sql, self._scope, record.guid))
