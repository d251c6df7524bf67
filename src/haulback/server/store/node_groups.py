"""Groups of nodes, to which tasks are pinned that several nodes can run."""

from __future__ import annotations

from itertools import combinations_with_replacement

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.inventory.reach import Nodes, pin_of
from haulback.server.store import tables
from haulback.server.store.raw_sql import Statement
from haulback.server.store.reach_tables import node_group as table

_MINE = Statement("SELECT guid FROM node_group WHERE node = :node")


def pins_of(sql: sa.Connection, node: str) -> list[str]:
    """The pins of the tasks that a node can run."""
    return ["", node, *(row[0] for row in _MINE.rows(sql, node=node))]


def may_run(node: str, column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """The SQL condition under which a task, with its pin in `column`, may run on a node."""
    groups = sa.select(table.c.guid).where(table.c.node == node)
    return sa.or_(column.in_(("", node)), column.in_(groups))


def keep(sql: sa.Connection) -> None:
    """Add the groups to which tasks of the present hypervisors and destinations can be pinned.

    A task uses at most two of these, so that its nodes are the nodes of one, or the common nodes of
    two.
    """
    for first, second in combinations_with_replacement(_sets(sql), 2):
        add(sql, first & second)


def _sets(sql: sa.Connection) -> list[Nodes]:
    texts = {
        text
        for places in (tables.hypervisor, tables.destination)
        for text in sql.scalars(sa.select(places.c.nodes).where(places.c.nodes != "[]").distinct())
    }
    return [frozenset(msgspec.json.decode(text)) for text in sorted(texts)]


def add(sql: sa.Connection, nodes: Nodes) -> None:
    """Add the group of these nodes; a single node, or none, forms no group."""
    if len(nodes) < 2:
        return
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    rows = [{"guid": pin_of(nodes), "node": node} for node in sorted(nodes)]
    # Another server may add the same group at this moment.
    sql.execute(insert(table).on_conflict_do_nothing(), rows)
