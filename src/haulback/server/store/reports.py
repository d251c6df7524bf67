"""Lists of tasks: filtered, sorted and paged by the database, never as a whole in memory."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.errors import Malformed
from haulback.server.store import tasks
from haulback.server.store.tables import VISIBLE, log_line, node, task_ref
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task

LOG_LINES = 1000
MOST = 10_000
_SORTS = {
    "type": table.c.type,
    "state": table.c.state,
    "priority": table.c.priority,
    "progress": table.c.progress,
    "windowStart": table.c.window_start,
    "windowEnd": table.c.window_end,
    "startTime": table.c.started,
    "finishTime": table.c.finished,
    "creationTime": table.c.created,
    "backupType": table.c.backup_type,
}


class Filter(msgspec.Struct, kw_only=True):
    """What of a list to show.  `refs` are guids by the role the contract gives them."""

    states: list[str] = []
    types: list[str] = []
    refs: dict[str, str] = {}
    parent: str | None = None
    workflow: str | None = None
    project: str | None = None
    text: str | None = None
    name: str | None = None
    mounted: bool | None = None
    unwished: bool = False  # only those that nobody has wished to cancel yet
    order: str | None = None
    descending: bool = False
    page: int | None = None
    size: int | None = None


class LogLine(msgspec.Struct):
    """One line of a task's log; `time` in epoch milliseconds by the server's clock."""

    number: int
    time: int
    attempt: int
    text: str


def page(sql: sa.Connection, wanted: Filter) -> tuple[list[Task], int]:
    """A page and how many there are in all.  Raises Malformed for an unknown sort."""
    where = _where(wanted)
    total = sql.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0
    query = sa.select(table).where(*where).order_by(*_order(wanted))
    size = min(wanted.size or MOST, MOST)
    query = query.limit(size).offset((wanted.page or 0) * size)
    return [tasks.task_of(row) for row in sql.execute(query)], total


def last_change(sql: sa.Connection) -> int:
    """When any task last changed; 0 if there is none."""
    return sql.scalar(sa.select(sa.func.max(table.c.modified))) or 0


def append_log(sql: sa.Connection, task: Task, now: int, lines: list[str]) -> None:
    """Add lines to a task's log, which keeps the last thousand."""
    query = sa.select(sa.func.max(log_line.c.number)).where(log_line.c.task == task.guid)
    first = (sql.scalar(query) or 0) + 1
    rows = [
        {"task": task.guid, "number": first + i, "time": now, "attempt": task.attempt, "text": t}
        for i, t in enumerate(lines[-LOG_LINES:])
    ]
    if rows:
        sql.execute(sa.insert(log_line), rows)
        old = log_line.c.number <= first + len(rows) - 1 - LOG_LINES
        sql.execute(sa.delete(log_line).where(log_line.c.task == task.guid, old))


def log(sql: sa.Connection, task: str) -> list[LogLine]:
    """A task's log, oldest line first."""
    query = sa.select(log_line).where(log_line.c.task == task).order_by(log_line.c.number)
    return [LogLine(r.number, r.time, r.attempt, r.text) for r in sql.execute(query)]


def _where(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = [VISIBLE]  # type: ignore[list-item]
    if wanted.states:
        where.append(table.c.state.in_(wanted.states))
    if wanted.types:
        where.append(table.c.type.in_(wanted.types))
    for column, value in (
        (table.c.follows, wanted.parent),
        (table.c.workflow, wanted.workflow),
        (table.c.project, wanted.project),
    ):
        if value:
            where.append(column == value)
    if wanted.unwished:
        where.append(~table.c.cancel_wanted)
    where += [_refers(role, guid) for role, guid in wanted.refs.items()]
    if wanted.mounted is not None:
        mounted = sa.exists().where(task_ref.c.task == table.c.guid, _role("mountedBackup"))
        where.append(mounted if wanted.mounted else ~mounted)
    if wanted.text:
        where.append(_contains(wanted.text))
    if wanted.name:
        where.append(_named(wanted.name))
    return where


def _refers(role: str, guid: str) -> sa.ColumnElement[bool]:
    if role == "node":
        return sa.or_(table.c.node == guid, table.c.pinned_node == guid)
    found = sa.select(task_ref.c.task).where(_role(role), task_ref.c.guid == guid)
    return table.c.guid.in_(found)


def _role(role: str) -> sa.ColumnElement[bool]:
    return task_ref.c.role == role


def _named(text: str) -> sa.ColumnElement[bool]:
    """The name of something the task is about."""
    like = task_ref.c.name.icontains(text, autoescape=True)
    return sa.exists().where(task_ref.c.task == table.c.guid, like)


def _contains(text: str) -> sa.ColumnElement[bool]:
    """Free text over type, state and guid, and the names of what the task is about."""
    columns = (table.c.type, table.c.state, table.c.guid)
    on_node = sa.select(node.c.guid).where(node.c.name.icontains(text, autoescape=True))
    found = (column.icontains(text, autoescape=True) for column in columns)
    return sa.or_(*found, table.c.node.in_(on_node), _named(text))


def _order(wanted: Filter) -> list[sa.ColumnElement[Any]]:
    if wanted.order is None:
        return [table.c.created.desc(), table.c.guid.desc()]
    if wanted.order not in _SORTS:
        known = ", ".join(_SORTS)
        raise Malformed(f"orderBy: {wanted.order!r} is not one of {known}", field="orderBy")
    column = _SORTS[wanted.order]
    return [column.desc() if wanted.descending else column.asc(), table.c.guid]
