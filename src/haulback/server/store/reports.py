"""Lists of tasks: filtered, sorted and paged by the database, never as a whole in memory."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.errors import Malformed
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store import tasks
from haulback.server.store.tables import REF_COLUMNS, VISIBLE, log_line, node
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task

LOG_LINES = 1000
MOST = 10_000
_STREAMED = 1000  # rows fetched at a time
SORTS: dict[str, Any] = {
    "creationTime": table.c.created,
    "priority": table.c.priority,
    "windowStart": table.c.window_start,
    "windowEnd": table.c.window_end,
    "type": table.c.type,
    "state": table.c.state,
    "progress": table.c.progress,
    "startTime": table.c.started,
    "finishTime": table.c.finished,
    "backupType": table.c.backup_type,
    "protectedEntity": table.c.subject,
    "node": sa.select(node.c.name).where(node.c.guid == table.c.node).scalar_subquery(),
}
_WITHOUT_GAPS = ("creationTime", "priority", "windowStart", "windowEnd", "type", "state")


class Filter(msgspec.Struct, kw_only=True):
    """What of a list to show.  `refs` are guids by the role the contract gives them.

    `cursor` is where an earlier page ended; `since` the earliest change that matters, epoch ms.
    """

    states: list[str] = []
    types: list[str] = []
    refs: dict[str, str] = {}
    parent: str | None = None
    workflow: str | None = None
    scope: Scope = EVERYTHING
    text: str | None = None
    name: str | None = None
    mounted: bool | None = None
    since: int | None = None
    unwished: bool = False  # only those that nobody has wished to cancel yet
    order: str | None = None
    descending: bool = False
    page: int | None = None
    size: int | None = None
    cursor: str | None = None


class LogLine(msgspec.Struct):
    """One line of a task's log; `time` in epoch milliseconds by the server's clock."""

    number: int
    time: int
    attempt: int
    text: str


def count(sql: sa.Connection, wanted: Filter) -> int:
    """How many tasks a filter finds."""
    return sql.scalar(sa.select(sa.func.count()).select_from(table).where(*_where(wanted))) or 0


def page(sql: sa.Connection, wanted: Filter) -> list[Task]:
    """A page.  Raises Malformed for an unknown sort or a cursor of another list."""
    query = sa.select(*tasks.COLUMNS).where(*_where(wanted)).order_by(*_order(wanted))
    size = MOST if wanted.size is None else min(wanted.size, MOST)
    if wanted.cursor:
        query = query.where(_beyond(wanted))
    else:
        query = query.offset((wanted.page or 0) * size)
    return [tasks.task_of(row) for row in sql.execute(query.limit(size))]


def stream(sql: sa.Connection, wanted: Filter) -> Iterator[Task]:
    """The whole list, some rows at a time; memory stays flat however long it is."""
    query = sa.select(*tasks.COLUMNS).where(*_where(wanted)).order_by(*_order(wanted))
    for row in sql.execution_options(yield_per=_STREAMED).execute(query):
        yield tasks.task_of(row)


def next_cursor(wanted: Filter, found: list[Task]) -> str | None:
    """Where the page after `found` begins; None where there is none or the sort has gaps."""
    name = wanted.order or "creationTime"
    full = MOST if wanted.size is None else wanted.size
    if not found or len(found) < full or name not in _WITHOUT_GAPS:
        return None
    last = found[-1]
    mark = [name, wanted.descending, getattr(last, SORTS[name].name), last.guid]
    return base64.urlsafe_b64encode(msgspec.json.encode(mark)).decode().rstrip("=")


def _beyond(wanted: Filter) -> sa.ColumnElement[bool]:
    """What comes after the cursor, by comparing rows: as cheap at any depth."""
    name, descending = wanted.order or "creationTime", _descending(wanted)
    try:
        raw = base64.urlsafe_b64decode(f"{wanted.cursor}==")
        said, direction, value, guid = msgspec.json.decode(raw, type=tuple[str, bool, Any, str])
    except (ValueError, msgspec.MsgspecError):
        raise Malformed("cursor: is none that this server gave", field="cursor") from None
    column = SORTS[name]
    fits = isinstance(value, column.type.python_type) and not isinstance(value, bool)
    if (said, direction) != (name, wanted.descending) or name not in _WITHOUT_GAPS or not fits:
        raise Malformed("cursor: belongs to a list in another order", field="cursor")
    here = sa.tuple_(column, table.c.guid)
    mark = sa.tuple_(sa.literal(value), sa.literal(guid))
    return here < mark if descending else here > mark


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
    for column, value in ((table.c.follows, wanted.parent), (table.c.workflow, wanted.workflow)):
        if value:
            where.append(column == value)
    if wanted.scope.listed is not None:
        where.append(table.c.project.in_(wanted.scope.listed))
    if wanted.unwished:
        where.append(~table.c.cancel_wanted)
    if wanted.since is not None:
        where.append(table.c.modified >= wanted.since)
    where += [_refers(role, guid) for role, guid in wanted.refs.items()]
    if wanted.mounted is not None:
        mounted = table.c.mounted_backup.is_not(None)
        where.append(mounted if wanted.mounted else ~mounted)
    if wanted.text:
        where.append(_contains(wanted.text))
    if wanted.name:
        where.append(table.c.subject.contains(wanted.name.lower(), autoescape=True))
    return where


def _refers(role: str, guid: str) -> sa.ColumnElement[bool]:
    if role == "node":
        return sa.or_(table.c.node == guid, table.c.pinned_node == guid)
    found: sa.ColumnElement[bool] = table.c[REF_COLUMNS[role]] == guid
    return found


def _named(text: str) -> sa.ColumnElement[bool]:
    """The name of something the task is about."""
    return table.c.names.contains(text.lower(), autoescape=True)


def _contains(text: str) -> sa.ColumnElement[bool]:
    """Free text over type, state and guid, and the names of what the task is about."""
    columns = (table.c.type, table.c.state, table.c.guid)
    on_node = sa.select(node.c.guid).where(node.c.name.icontains(text, autoescape=True))
    found = (column.icontains(text, autoescape=True) for column in columns)
    return sa.or_(*found, table.c.node.in_(on_node), _named(text))


def _descending(wanted: Filter) -> bool:
    return wanted.descending if wanted.order else True


def _order(wanted: Filter) -> list[sa.ColumnElement[Any]]:
    if wanted.order not in (None, *SORTS):
        known = ", ".join(SORTS)
        raise Malformed(f"orderBy: {wanted.order!r} is not one of {known}", field="orderBy")
    column = SORTS[wanted.order or "creationTime"]
    columns = (column, table.c.guid)
    return [c.desc() if _descending(wanted) else c.asc() for c in columns]
