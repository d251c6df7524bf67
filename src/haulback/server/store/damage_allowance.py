"""The reports of damage that the mounts of a node may make, in the database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.server.store.mount_tables import damage_allowance

_ROW = damage_allowance.c


def booked(sql: sa.Connection, node: str) -> int:
    """The time (epoch ms) up to which a node has used its allowance; 0 for a new node."""
    return sql.scalar(sa.select(_ROW.booked).where(_ROW.node == node)) or 0


def lock(sql: sa.Connection, node: str) -> int:
    """The result of `booked`; the row is locked until the transaction ends."""
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    new = insert(damage_allowance).values(node=node, booked=0)
    # The update changes nothing, and locks a row that exists already.
    same = new.on_conflict_do_update(index_elements=["node"], set_={"booked": _ROW.booked})
    return int(sql.scalar(same.returning(_ROW.booked)) or 0)


def book(sql: sa.Connection, node: str, until: int) -> None:
    """Record that a node has used its allowance up to a time (epoch ms)."""
    here = sa.update(damage_allowance).where(_ROW.node == node)
    sql.execute(here.values(booked=until))
