"""Increment bases that are lost, with the reasons."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.server.store import tables
from haulback.server.store.base_tables import lost_base
from haulback.server.store.expressions import Condition


def lose(sql: sa.Connection, where: Condition, why: str) -> None:
    """Delete the bases that meet a condition on `tables.base`, and record the reason of each."""
    base, lost = tables.base.c, lost_base.c
    # The order is the same in all transactions, so that they cannot deadlock.
    query = sa.select(base.entity, base.destination).where(where)
    bases = sql.execute(query.order_by(base.entity, base.destination)).all()
    if not bases:
        return
    # Two transactions may delete one base, such as the end of one task and the start of another.
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    rows = [{"entity": row.entity, "destination": row.destination, "why": why} for row in bases]
    new = insert(lost_base).values(rows)
    fresh = {"why": new.excluded.why}
    sql.execute(
        new.on_conflict_do_update(index_elements=[lost.entity, lost.destination], set_=fresh)
    )
    sql.execute(sa.delete(tables.base).where(where))
