"""Hypervisors: insertion, change and removal."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.contract.order_records import Hypervisor
from haulback.server.store import rows, tables


def add(sql: sa.Connection, record: Hypervisor) -> None:
    """Insert a hypervisor.  Raises Conflict for a name in use."""
    rows.add(sql, tables.hypervisor, record)


def change(sql: sa.Connection, record: Hypervisor) -> None:
    """Write a hypervisor.  Raises Conflict for a name in use."""
    rows.change(sql, tables.hypervisor, record)


def is_known(sql: sa.Connection, guid: str) -> bool:
    """Whether a hypervisor has a record."""
    query = sa.select(tables.hypervisor.c.guid).where(tables.hypervisor.c.guid == guid)
    return sql.scalar(query) is not None


def remove(sql: sa.Connection, guid: str) -> None:
    """Delete a hypervisor with its machines and the snapshots of its machines."""
    entity, hypervisor = tables.entity, tables.hypervisor
    machines = sa.select(entity.c.guid).where(entity.c.hypervisor == guid)
    sql.execute(sa.delete(tables.snapshot).where(tables.snapshot.c.entity.in_(machines)))
    sql.execute(sa.delete(entity).where(entity.c.hypervisor == guid))
    sql.execute(sa.delete(hypervisor).where(hypervisor.c.guid == guid))
