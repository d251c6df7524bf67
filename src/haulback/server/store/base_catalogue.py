"""Increment bases that planning reads."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.contract.order_records import IncrementBase
from haulback.server.store import tables
from haulback.server.store.base_tables import lost_base
from haulback.server.store.rows import records


class BaseCatalogue:
    """`inventory.catalogue.BaseRecords` on a connection."""

    def __init__(self, sql: sa.Connection) -> None:
        self._sql = sql

    def find(self, entity: str, destination: str) -> IncrementBase | None:
        return next((b for b in self.of_entity(entity) if b.destination == destination), None)

    def of_entity(self, entity: str) -> list[IncrementBase]:
        query = sa.select(tables.base).where(tables.base.c.entity == entity)
        return records(self._sql, query, IncrementBase)

    def why_lost(self, entity: str, destination: str | None = None) -> str:
        here = [lost_base.c.entity == entity]
        if destination:
            here.append(lost_base.c.destination == destination)
        return self._sql.scalar(sa.select(lost_base.c.why).where(*here).limit(1)) or ""
