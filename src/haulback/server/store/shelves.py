"""Lists of hypervisors, destinations, machines and backups, and names that are taken."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import sqlalchemy as sa

from haulback.inventory.records import Backup, Destination, Entity, Hypervisor
from haulback.server.store import tables
from haulback.server.store.catalogue import records

T = TypeVar("T", bound=msgspec.Struct)
PLACES: dict[type[msgspec.Struct], sa.Table] = {
    Hypervisor: tables.hypervisor,
    Destination: tables.destination,
}


def places(sql: sa.Connection, kind: type[T]) -> list[T]:
    """All hypervisors, or all destinations, by name."""
    table = PLACES[kind]
    return records(sql, sa.select(table).order_by(table.c.name), kind)


def is_taken(sql: sa.Connection, kind: type[msgspec.Struct], name: str) -> bool:
    """Whether a hypervisor or destination has that name."""
    table = PLACES[kind]
    return sql.scalar(sa.select(table.c.guid).where(table.c.name == name)) is not None


def only_node(sql: sa.Connection) -> str | None:
    """The one node there is; None when there are none or several."""
    found = list(sql.scalars(sa.select(tables.node.c.guid).limit(2)))
    return str(found[0]) if len(found) == 1 else None


def machines(
    sql: sa.Connection, text: str | None, page: int, size: int
) -> tuple[list[Entity], int]:
    """A page of machines by name, and how many there are."""
    table = tables.entity
    where = table.c.name.icontains(text, autoescape=True) if text else sa.true()
    query = sa.select(table).where(where).order_by(table.c.name, table.c.guid)
    return _page(sql, query, page, size, Entity)


def backups(
    sql: sa.Connection, entity: str | None, statuses: list[str], page: int, size: int
) -> tuple[list[Backup], int]:
    """A page of backups, the newest first, and how many there are."""
    table = tables.backup
    query = sa.select(table).order_by(table.c.created.desc(), table.c.guid)
    if entity:
        query = query.where(table.c.entity == entity)
    if statuses:
        query = query.where(table.c.status.in_(statuses))
    return _page(sql, query, page, size, Backup)


def _page(
    sql: sa.Connection, query: sa.Select[tuple[object, ...]], page: int, size: int, kind: type[T]
) -> tuple[list[T], int]:
    count = sa.select(sa.func.count()).select_from(query.order_by(None).subquery())
    found = records(sql, query.limit(size).offset(page * size), kind)
    return found, sql.scalar(count) or 0
