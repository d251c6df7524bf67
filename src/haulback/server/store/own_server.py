"""The rows of the server itself: the source and the entity of backups of its own database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.inventory import own_server
from haulback.server.store import tables
from haulback.server.store.rows import row_of


def add(sql: sa.Connection, now: int) -> None:
    """Insert the source and the entity, unless they exist."""
    known = sa.select(tables.entity.c.guid).where(tables.entity.c.guid == own_server.OWN_ENTITY)
    if sql.scalar(known) is not None:
        return
    source, entity = own_server.source(), own_server.entity(now)
    source.name = _free_name(sql, source.name)
    for table, record in ((tables.hypervisor, source), (tables.entity, entity)):
        insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
        # Another server of the database may insert the same rows at this moment.
        new = insert(table).values(row_of(record, table)).on_conflict_do_nothing()
        sql.execute(new)


def _free_name(sql: sa.Connection, wanted: str) -> str:
    """The name, with a number where a hypervisor of a user has it."""
    table, name, number = tables.hypervisor.c, wanted, 1
    while sql.scalar(sa.select(table.guid).where(table.name == name)) is not None:
        number += 1
        name = f"{wanted} ({number})"
    return name
