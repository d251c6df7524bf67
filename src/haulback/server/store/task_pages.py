"""The tasks of a page: first their guids from an index, then their rows.

A row is twenty times as wide as its index entry. Every query scans one index (`task_list`), or a
shorter index if a filter leaves few rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa

from haulback.server.store import tasks
from haulback.server.store.expressions import Condition, Expression, Select
from haulback.server.store.tables import VISIBLE
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task

_FEW = 2000  # rows that may be read individually
_FETCHED = 500  # values of one IN list, because old versions of SQLite allow 999
_ROOM_KIB, _USUAL_KIB = 16_000, 2_000  # KiB of memory for a sort in SQLite


class ListConditions(NamedTuple):
    """Conditions and order of a list; `indexed` are the conditions that an index answers."""

    where: list[Condition]
    order: list[Expression]
    indexed: dict[str, Condition]


class TaskListReader:
    """A list query on one connection; the index is chosen once."""

    def __init__(self, sql: sa.Connection, asked: ListConditions) -> None:
        self._sql, self._asked = sql, asked
        self._is_whole = not asked.where[1:]  # only the condition that every list has
        self._is_sqlite = sql.dialect.name == "sqlite"
        self._index = self._choose() if self._is_sqlite else ""

    def count(self) -> int:
        """The number of tasks."""
        query = sa.select(sa.func.count()).select_from(table).where(*self._asked.where)
        return int(self._rows(query, "task_newest" if self._is_whole else self._index)[0][0])

    def guids(
        self, size: int | None = None, offset: int = 0, total: int | None = None
    ) -> list[str]:
        """Guids in order; a deep page is read from the nearer end, which `total` determines."""
        query = sa.select(table.c.guid).where(*self._asked.where)
        if size is None or total is None or offset <= total // 2:
            query = query.order_by(*self._asked.order).limit(size).offset(offset or None)
            return [row[0] for row in self._rows(query, self._index)]
        left = min(size, total - offset)
        if left <= 0:
            return []
        turned = query.order_by(*map(_turned, self._asked.order))
        result = self._rows(turned.limit(left).offset(total - offset - left), self._index)
        return [row[0] for row in reversed(result)]

    def _choose(self) -> str:
        """The index that the query names for SQLite, which has no statistics."""
        if self._is_whole and _turned(self._asked.order[0]).element is table.c.created:
            return "task_newest"
        for name, condition in self._asked.indexed.items():
            few = sa.select(sa.literal(1)).select_from(table).where(VISIBLE, condition)
            query = sa.select(sa.func.count()).select_from(few.limit(_FEW + 1).subquery())
            if _rows_by_index(self._sql, query, name)[0][0] <= _FEW:
                return name
        return "task_list"

    def _rows(self, query: Select, index: str) -> Sequence[Any]:
        if not self._is_sqlite:
            return self._sql.execute(query).all()
        with _room(self._sql):
            return _rows_by_index(self._sql, query, index)


def rows(sql: sa.Connection, guids: Sequence[str]) -> Iterator[Task]:
    """The tasks of these guids, in their order; deleted tasks are left out."""
    for at in range(0, len(guids), _FETCHED):
        some = guids[at : at + _FETCHED]
        found = sql.execute(sa.select(*tasks.COLUMNS).where(table.c.guid.in_(some)))
        by_guid = {row.guid: row for row in found}
        yield from (tasks.task_of(by_guid[guid]) for guid in some if guid in by_guid)


def _turned(column: Expression) -> sa.UnaryExpression[object]:
    """The reverse of an order."""
    assert isinstance(column, sa.UnaryExpression)
    inner: Expression = column.element
    return inner.asc() if column.modifier is sa.sql.operators.desc_op else inner.desc()


def _rows_by_index(
    sql: sa.Connection, query: Select, index: str, before: str = ""
) -> Sequence[Any]:
    """The rows of a query for which SQLite has to use an index."""
    compiled = query.compile(dialect=sql.dialect, compile_kwargs={"render_postcompile": True})
    names: Any = compiled.positiontup
    text = str(compiled).replace("FROM task ", f"FROM task INDEXED BY {index} ", 1)
    values = tuple(compiled.params[name] for name in names)
    return sql.exec_driver_sql(before + text, values).all()


@contextmanager
def _room(sql: sa.Connection) -> Iterator[None]:
    """A block with more memory for sorting; its end restores the limit of the connection."""
    sql.exec_driver_sql(f"PRAGMA cache_size=-{_ROOM_KIB}")
    try:
        yield
    finally:
        sql.exec_driver_sql(f"PRAGMA cache_size=-{_USUAL_KIB}")
