"""The rows of internal hypervisors: for the server's own database, and for attached machines."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.contract.order_records import Hypervisor
from haulback.inventory import attached_machines, own_server
from haulback.server.store import tables
from haulback.server.store.rows import row_of


def add(sql: sa.Connection, now: int) -> None:
    """Insert the hypervisor and the entity of the server's own database, unless they exist."""
    known = sa.select(tables.entity.c.guid).where(tables.entity.c.guid == own_server.OWN_ENTITY)
    if sql.scalar(known) is not None:
        return
    _insert(sql, tables.hypervisor, _named(sql, own_server.source()))
    _insert(sql, tables.entity, own_server.entity(now))


def add_attached(sql: sa.Connection) -> None:
    """Insert the hypervisor of attached machines, unless it exists."""
    table = tables.hypervisor.c
    source = attached_machines.source()
    if sql.scalar(sa.select(table.guid).where(table.guid == source.guid)) is None:
        _insert(sql, tables.hypervisor, _named(sql, source))


def _insert(sql: sa.Connection, table: sa.Table, record: msgspec.Struct) -> None:
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    # Another server of the database may insert the same row at this moment.
    sql.execute(insert(table).values(row_of(record, table)).on_conflict_do_nothing())


def _named(sql: sa.Connection, source: Hypervisor) -> Hypervisor:
    """The hypervisor; its name gets a number if a hypervisor of a user has the name."""
    table, wanted, number = tables.hypervisor.c, source.name, 1
    while sql.scalar(sa.select(table.guid).where(table.name == source.name)) is not None:
        number += 1
        source.name = f"{wanted} ({number})"
    return source
