"""Exports whose staging is on a silent node: the STORE tasks that wait for that node."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.server.store import tasks
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import node as nodes
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task

_SILENT = Statement(
    "SELECT node.guid FROM node WHERE node.seen < :before AND (SELECT task.guid FROM task "
    "WHERE task.ready AND task.lane = 'store' AND task.pinned_node = node.guid LIMIT 1) IS NOT NULL"
)


def silent(sql: sa.Connection, before: int, now: int) -> list[str]:
    """The nodes that have been silent since a time (epoch ms) and that have exports to store.

    A node that runs a task is active, even without recent requests for work.
    """
    quiet = [str(row[0]) for row in _SILENT.rows(sql, before=before)]
    if not quiet:
        return []
    running = (sa.text("state = 'RUNNING'"), table.c.lease_until >= now)
    alive = set(sql.scalars(sa.select(table.c.node).where(*running).distinct()))
    return [node for node in quiet if node not in alive]


def waiting(sql: sa.Connection, node: str, limit: int = 100) -> list[Task]:
    """The STORE tasks that wait for a node, locked."""
    where = (sa.text("ready"), table.c.lane == "store", table.c.pinned_node == node)
    rows = sql.execute(
        sa.select(*tasks.COLUMNS)
        .where(*where)
        .order_by(table.c.rank)
        .limit(limit)
        .with_for_update()
    )
    return [task for task in map(tasks.task_of, rows) if "staging" in task.params]


def heard_since(sql: sa.Connection, moment: int) -> frozenset[str]:
    """The nodes that had contact after a time, epoch ms."""
    return frozenset(sql.scalars(sa.select(nodes.c.guid).where(nodes.c.seen >= moment)))
