"""Lists of tasks, filtered, sorted and paged by the database; no list is held in memory as a
whole.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.server.queries import MOST, Filter
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store import tasks
from haulback.server.store.expressions import Condition, Expression
from haulback.server.store.tables import REF_COLUMNS, VISIBLE, log_line, node
from haulback.server.store.tables import task as table
from haulback.server.store.task_pages import ListConditions, TaskListReader, rows
from haulback.tasks.record import LogRow, Task
from haulback.wire import JsonObject

_NEAR = 2000  # rows before a page that is read from the start without a count
_OF_A_GUID = re.compile("[0-9a-f-]+")
LOG_LINES = 1000  # lines of a task's log that are kept
_HEAD = 200  # number of first lines among these, which contain the decisions
SORTS: JsonObject = {
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


def count(sql: sa.Connection, wanted: Filter) -> int:
    """The number of tasks that a filter selects."""
    return TaskListReader(sql, _question(wanted)).count()


def guids(sql: sa.Connection, wanted: Filter) -> list[str]:
    """The guids of all tasks that a filter selects, in its order."""
    return TaskListReader(sql, _question(wanted)).guids()


def page(sql: sa.Connection, wanted: Filter) -> tuple[list[Task], int]:
    """A page and the number of tasks; -1 for a page by cursor, since the first page gave it.

    Raises Malformed for an unknown sort or a cursor of another list.
    """
    asked, size = _question(wanted), MOST if wanted.size is None else min(wanted.size, MOST)
    if wanted.cursor:
        asked.where.append(_beyond(wanted))
        return list(rows(sql, TaskListReader(sql, asked).guids(size))), -1
    finder, offset = TaskListReader(sql, asked), (wanted.page or 0) * size
    if offset < _NEAR:
        result = finder.guids(size, offset)
        is_last = len(result) < size and (result or not offset)
        total = offset + len(result) if is_last else finder.count()
    else:
        total = finder.count()
        result = finder.guids(size, offset, total) if offset < total else []
    return list(rows(sql, result)), total


def stream(sql: sa.Connection, wanted: Filter) -> Iterator[Task]:
    """The whole list in pieces; only the guids are in memory together."""
    return rows(sql, guids(sql, wanted))


def next_cursor(wanted: Filter, found: list[Task]) -> str | None:
    """The cursor of the page after `found`, or None, also for a sort whose values may be absent."""
    name = wanted.order or "creationTime"
    full = MOST if wanted.size is None else wanted.size
    if not found or len(found) < full or name not in _WITHOUT_GAPS:
        return None
    last = found[-1]
    mark = [name, wanted.descending, getattr(last, SORTS[name].name), last.guid]
    return base64.urlsafe_b64encode(msgspec.json.encode(mark)).decode().rstrip("=")


def _beyond(wanted: Filter) -> Condition:
    """The condition for rows after the cursor, as a row comparison, so that deep pages cost no
    more.
    """
    name, descending = wanted.order or "creationTime", _descending(wanted)
    try:
        raw = base64.urlsafe_b64decode(f"{wanted.cursor}==")
        said, direction, value, guid = msgspec.json.decode(raw, type=tuple[str, bool, object, str])
    except (ValueError, msgspec.MsgspecError):
        raise Malformed(
            "cursor: this server did not send this cursor; start at the first page", field="cursor"
        ) from None
    column = SORTS[name]
    fits = isinstance(value, column.type.python_type) and not isinstance(value, bool)
    if (said, direction) != (name, wanted.descending) or name not in _WITHOUT_GAPS or not fits:
        raise Malformed(
            "cursor: belongs to a list in another order; start at the first page", field="cursor"
        )
    here = sa.tuple_(column, table.c.guid)
    mark = sa.tuple_(sa.literal(value), sa.literal(guid))
    return here < mark if descending else here > mark


def last_change(sql: sa.Connection, scope: Scope = EVERYTHING, reader: str | None = None) -> int:
    """The time of the last change of a task in `scope`, or of a node's tasks; 0 without tasks."""
    query = sa.select(sa.func.max(table.c.modified))
    if scope.listed is not None:
        query = query.where(table.c.project.in_(scope.listed))
    if reader:
        query = query.where(tasks.concerns(reader))
    return sql.scalar(query) or 0


def append_log(sql: sa.Connection, task: Task, now: int, lines: list[str]) -> None:
    """Add lines to a task's log, which keeps the first and the last lines, a thousand in all.

    A gap in the numbers shows how many lines were dropped.
    """
    query = sa.select(sa.func.max(log_line.c.number)).where(log_line.c.task == task.guid)
    first = (sql.scalar(query) or 0) + 1
    rows = [
        {"task": task.guid, "number": first + i, "time": now, "attempt": task.attempt, "text": t}
        for i, t in enumerate(lines[-LOG_LINES:])
    ]
    if rows:
        sql.execute(sa.insert(log_line), rows)
        old = log_line.c.number <= first + len(rows) - 1 - (LOG_LINES - _HEAD)
        middle = sa.and_(old, log_line.c.number > _HEAD)
        sql.execute(sa.delete(log_line).where(log_line.c.task == task.guid, middle))


def log(sql: sa.Connection, task: str) -> list[LogRow]:
    """A task's log, oldest line first."""
    query = sa.select(log_line).where(log_line.c.task == task).order_by(log_line.c.number)
    return [LogRow(r.number, r.time, r.attempt, r.text) for r in sql.execute(query)]


def _question(wanted: Filter) -> ListConditions:
    """The conditions of a filter.  Raises Malformed for an unknown sort."""
    indexed = _indexed(wanted)
    where: list[Condition] = [VISIBLE, *indexed.values()]  # type: ignore[list-item]
    if wanted.reader:
        where.append(tasks.concerns(wanted.reader))
    if wanted.unwished:
        where.append(~table.c.cancel_wanted)
    for role, guid in wanted.refs.items():
        if role != "protectedEntity":
            where.append(_refers(role, guid))
    if wanted.mounted is not None:
        mounted = table.c.mounted_backup.is_not(None)
        where.append(mounted if wanted.mounted else ~mounted)
    if wanted.text:
        where.append(_contains(wanted.text))
    if wanted.name:
        where.append(table.c.subject.contains(wanted.name.lower(), autoescape=True))
    return ListConditions(where, _order(wanted), indexed)


def _indexed(wanted: Filter) -> dict[str, Condition]:
    """The conditions that a special index can answer, by the name of the index."""
    entity, listed = wanted.refs.get("protectedEntity"), wanted.scope.listed
    result: dict[str, Condition] = {}
    if entity:
        result["task_entity"] = table.c.entity == entity
    if wanted.workflow:
        result["task_workflow"] = table.c.workflow == wanted.workflow
    if wanted.parent:
        result["task_follows"] = table.c.follows == wanted.parent
    if wanted.since is not None:
        result["task_modified"] = table.c.modified >= wanted.since
    if wanted.states:
        result["task_state"] = table.c.state.in_(wanted.states)
    if wanted.types:
        result["task_type"] = table.c.type.in_(wanted.types)
    if listed is not None:
        result["task_project"] = table.c.project.in_(listed)
    return result


def _refers(role: str, guid: str) -> Condition:
    if role == "node":
        return sa.or_(table.c.node == guid, table.c.pinned_node == guid)
    found: Condition = table.c[REF_COLUMNS[role]] == guid
    return found


def _named(text: str) -> Condition:
    """The name of an object of the task."""
    return table.c.names.contains(text.lower(), autoescape=True)


def _contains(text: str) -> Condition:
    """A text search over type, state, guid, and the names of the task's objects."""
    on_node = sa.select(node.c.guid).where(node.c.name.icontains(text, autoescape=True))
    found = [table.c.type.contains(text.upper(), autoescape=True)]
    found += [table.c.state == state for state in State.__members__ if text.upper() in state]
    if _OF_A_GUID.fullmatch(text.lower()):  # this search compares every row with the text
        found.append(table.c.guid.contains(text.lower(), autoescape=True))
    return sa.or_(*found, table.c.node.in_(on_node), _named(text))


def _descending(wanted: Filter) -> bool:
    return wanted.descending if wanted.order else True


def _order(wanted: Filter) -> list[Expression]:
    if wanted.order not in (None, *SORTS):
        known = ", ".join(SORTS)
        raise Malformed(f"orderBy: {wanted.order!r} is not one of {known}", field="orderBy")
    column = SORTS[wanted.order or "creationTime"]
    columns = (column, table.c.guid)
    return [c.desc() if _descending(wanted) else c.asc() for c in columns]
