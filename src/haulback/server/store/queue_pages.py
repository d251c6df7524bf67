"""The queue as users list it: the first queued tasks in the order in which they may start.

The index `task_queue` has the queue of each project in this order.  Each project has a query of its
own: a single query would sort the queues of all.
"""

from __future__ import annotations

import sqlalchemy as sa

from haulback.server.store import node_groups
from haulback.server.store.expressions import Condition
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import LISTED_QUEUE
from haulback.server.store.tables import task as table
from haulback.server.store.task_pages import rows
from haulback.tasks.record import Task

_QUEUE = f"FROM task WHERE {LISTED_QUEUE}"
# The projects with queued tasks: one index lookup for each project.
_PROJECTS = Statement(
    f"WITH RECURSIVE owner(name) AS (SELECT min(project) {_QUEUE} AND project >= '' UNION ALL "
    f"SELECT (SELECT min(project) {_QUEUE} AND project > owner.name) FROM owner "
    "WHERE owner.name IS NOT NULL) SELECT name FROM owner WHERE name IS NOT NULL"
)
_ORDER = (table.c.rank, table.c.guid)


def first(
    sql: sa.Connection, projects: frozenset[str] | None, node: str | None, most: int
) -> list[Task]:
    """The first queued tasks of some projects (None: of all tasks) that a node, or any node, may
    take.
    """
    where: list[Condition] = [LISTED_QUEUE]  # type: ignore[list-item]
    if node:
        where += [table.c.ready, table.c.pinned_node.in_(node_groups.pins_of(sql, node))]
    places: list[tuple[int, str]] = []
    for owner in _owners(sql, projects):
        query = sa.select(*_ORDER).where(*where, owner).order_by(*_ORDER).limit(most)
        if places and len(places) == most:  # tasks behind the last place are not read
            last = sa.tuple_(*map(sa.literal, places[-1]))
            query = query.where(sa.tuple_(*_ORDER) < last)
        places += [(row.rank, row.guid) for row in sql.execute(query)]
        places = sorted(places)[:most]
    return list(rows(sql, [guid for _, guid in places]))


def _owners(sql: sa.Connection, projects: frozenset[str] | None) -> list[Condition]:
    """The conditions for the queues of projects; None includes the tasks without a project."""
    if projects is not None:
        return [table.c.project == project for project in sorted(projects)]
    owned = [table.c.project == project for (project,) in _PROJECTS.rows(sql)]
    return [*owned, table.c.project.is_(None)]
