"""Task rows: written once, changed by guid, read back as the record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from haulback.contract.task_states import PLANNED
from haulback.errors import Conflict, NotFound
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store import node_groups
from haulback.server.store.raw_sql import Insert, Statement
from haulback.server.store.tables import ENDED, REF_COLUMNS, audit
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task
from haulback.wire import JsonObject, Named

_JSON = ("refs", "params", "results", "slots")
_FLAGS = ("ready", "cancel_wanted", "archived")
_MANY = 500  # values of one IN list, because old versions of SQLite allow 999
_NAMES = Task.__struct_fields__
COLUMNS = [table.c[name] for name in _NAMES]
LIST = ", ".join(f"task.{name}" for name in _NAMES)  # the same condition as SQL text
_ALL = (*_NAMES, *REF_COLUMNS.values(), "names", "subject")
_INSERT = Insert("task", _ALL)
_ONE = Statement(f"SELECT {LIST} FROM task WHERE guid = :guid")
_ONE_LOCKED = Statement(f"SELECT {LIST} FROM task WHERE guid = :guid", " FOR UPDATE")
_FOLLOWERS = Statement(
    f"SELECT {LIST} FROM task WHERE follows = :guid AND state = 'PLANNED' ORDER BY guid"
)
_FURTHER = (
    "UPDATE task SET modified = :now, lease_until = :lease, progress = CASE WHEN progress > "
    ":percent THEN progress ELSE :percent END "
    "WHERE guid = :guid AND state = 'RUNNING' AND session = :session"
)
_PROGRESS, _PROGRESS_OF = Statement(_FURTHER), Statement(f"{_FURTHER} AND attempt = :attempt")


class BulkCaller(NamedTuple):
    """The caller of a bulk change: names for the audit log, and the visible projects."""

    guid: str
    name: str
    operation: str
    scope: Scope


def insert(connection: sa.Connection, tasks: Iterable[Task]) -> None:
    """Add tasks, with their references as columns."""
    _INSERT(connection, (_encode(msgspec.structs.asdict(t) | _about(t)) for t in tasks))


def _about(task: Task) -> JsonObject:
    columns = {column: task.ref(role) for role, column in REF_COLUMNS.items()}
    return columns | {"names": task.names, "subject": task.subject}


def get(
    connection: sa.Connection, guid: str, scope: Scope = EVERYTHING, *, lock: bool = False
) -> Task:
    """A task, even an archived or a planned one; `lock` locks it until the transaction ends.

    Raises NotFound.
    """
    element = find(connection, guid, lock=lock)
    if element is None or not scope.allows(element.project):
        raise NotFound(f"there is no task {guid}", guid=guid)
    return element


def find(connection: sa.Connection, guid: str, *, lock: bool = False) -> Task | None:
    """A task by its guid, or None; `lock` locks it until the transaction ends."""
    row = (_ONE_LOCKED if lock else _ONE).row(connection, guid=guid)
    return task_of(row) if row else None


def get_many(connection: sa.Connection, guids: Sequence[str]) -> dict[str, Task]:
    """Existing tasks by guid, locked in the same order by all callers."""
    found: dict[str, Task] = {}
    for at in range(0, len(guids), _MANY):
        query = sa.select(*COLUMNS).where(table.c.guid.in_(guids[at : at + _MANY]))
        rows = connection.execute(query.order_by(table.c.guid).with_for_update())
        found |= {row.guid: task_of(row) for row in rows}
    return found


def concerns(node: str) -> sa.ColumnElement[bool]:
    """The tasks that a node may read: tasks that it runs, ran or may take."""
    waits = sa.and_(table.c.state == "QUEUED", table.c.node.is_(None))
    return sa.or_(
        table.c.node == node, sa.and_(waits, node_groups.may_run(node, table.c.pinned_node))
    )


def of_node(connection: sa.Connection, guid: str, node: str) -> Task:
    """A task that a node may read.  Raises NotFound."""
    query = sa.select(*COLUMNS).where(table.c.guid == guid, concerns(node))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"there is no task {guid} for this node", guid=guid)
    return task_of(row)


def visible(
    connection: sa.Connection, guid: str, scope: Scope = EVERYTHING, *, lock: bool = False
) -> Task:
    """A task that a caller may see.  Raises NotFound for planned and removed tasks."""
    found = get(connection, guid, scope, lock=lock)
    if found.state == PLANNED or found.archived:
        raise NotFound(f"there is no task {guid}", guid=guid)
    return found


def forget(connection: sa.Connection, before: int, limit: int = 200) -> int:
    """Delete some tasks that are off the lists and ended before a time."""
    archived = sa.select(table.c.guid).where(sa.text("archived"), table.c.finished < before)
    done = connection.execute(sa.delete(table).where(table.c.guid.in_(archived.limit(limit))))
    return done.rowcount


def archive(connection: sa.Connection, now: int, before: int, limit: int = 500) -> int:
    """Remove some tasks that ended before a time from the lists; their rows stay."""
    ended = sa.select(table.c.guid).where(ENDED, table.c.finished < before).limit(limit)
    change = sa.update(table).where(table.c.guid.in_(ended)).values(archived=True, modified=now)
    return connection.execute(change).rowcount


def hide_ended(
    connection: sa.Connection,
    guids: Sequence[str],
    states: Collection[str],
    who: BulkCaller,
    now: int,
) -> None:
    """Remove ended tasks from the lists and add audit entries, by statements that read no rows.

    These statements are far faster than a statement for each task.
    """
    if not states:
        return
    where = (_among(connection, guids), table.c.state.in_(states), ~table.c.archived)
    change = (
        sa.update(table).where(*where, *_seen_by(who.scope)).values(archived=True, modified=now)
    )
    # With a single writer, rows do not change after they were read.
    if connection.dialect.name == "sqlite":
        here = sa.select(table.c.guid, table.c.state).where(*where, *_seen_by(who.scope))
        connection.execute(_noted(here.subquery(), who, now))
        connection.execute(change)
    else:
        gone = change.returning(table.c.guid, table.c.state).cte("gone")
        connection.execute(_noted(gone, who, now))


def _noted(gone: sa.FromClause, who: BulkCaller, now: int) -> sa.Insert:
    """An audit entry for each task that leaves the lists."""
    state = gone.c.state
    after = sa.literal('{"state":"') + state + sa.literal('","removed":true}')
    line: JsonObject = {
        "time": sa.literal(now),
        "caller": sa.literal(who.guid),
        "login": sa.literal(who.name),
        "operation": sa.literal(who.operation),
        "subject": gone.c.guid,
        "before": sa.literal('"') + state + sa.literal('"'),
        "after": after,
    }
    return sa.insert(audit).from_select(list(line), sa.select(*line.values()))


def in_states(
    connection: sa.Connection, guids: Sequence[str], states: Collection[str], scope: Scope
) -> list[Task]:
    """Listed tasks in one of some states, locked in the same order by all callers."""
    if not states:
        return []
    where = (_among(connection, guids), table.c.state.in_(states), ~table.c.archived)
    query = sa.select(*COLUMNS).where(*where, *_seen_by(scope)).order_by(table.c.guid)
    return [task_of(row) for row in connection.execute(query.with_for_update())]


def seen(
    connection: sa.Connection, guids: Sequence[str], states: Collection[str], scope: Scope
) -> list[Task]:
    """Listed tasks, among at most 500, in one of some states; no row is locked."""
    where = (table.c.guid.in_(guids), table.c.state.in_(states), ~table.c.archived)
    query = sa.select(*COLUMNS).where(*where, *_seen_by(scope)).order_by(table.c.guid)
    return [task_of(row) for row in connection.execute(query)]


def _among(connection: sa.Connection, guids: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether a task has one of many guids, which are passed as a single parameter.

    Thousands of parameters would take more time than the statement itself.
    """
    if connection.dialect.name == "sqlite":
        given = sa.literal(msgspec.json.encode(list(guids)).decode(), sa.Text)
        return table.c.guid.in_(sa.select(sa.func.json_each(given).table_valued("value").c.value))
    listed = postgresql.ARRAY(sa.Text)
    return table.c.guid == sa.any_(sa.cast(sa.literal(list(guids), listed), listed))


def _seen_by(scope: Scope) -> list[sa.ColumnElement[bool]]:
    """The condition of `Scope.allows` on a task's project, in SQL."""
    return [] if scope.listed is None else [table.c.project.in_(scope.listed)]


def followers(connection: sa.Connection, guid: str) -> list[Task]:
    """The tasks that follow a task."""
    return [task_of(row) for row in _FOLLOWERS.rows(connection, guid=guid)]


def below(connection: sa.Connection, guid: str, *, deep: bool) -> list[Task]:
    """The tasks that follow a task; `deep`: also the tasks that follow these, level by level."""
    found = followers(connection, guid)
    if deep:
        for task in found:  # the loop extends this list
            found += followers(connection, task.guid)
    return found


def change_rows(
    connection: sa.Connection,
    changes: Sequence[tuple[Task, JsonObject]],
    new: Sequence[Task],
    now: int,
) -> None:
    """Write members of tasks that were read in this transaction, each row once, and add new tasks.

    Raises Conflict if a task has left its state meanwhile.
    """
    alike: dict[tuple[str, ...], list[tuple[Task, JsonObject]]] = {}
    for task, values in changes:
        alike.setdefault(tuple(values), []).append((task, values))
    for group in alike.values():
        change_many(connection, [task for task, _ in group], now, [values for _, values in group])
    if new:
        insert(connection, new)


def change(connection: sa.Connection, task: Task, now: int, **values: object) -> None:
    """Write some members of a task that the caller read in this transaction.

    Raises Conflict if the task has left its state meanwhile.
    """
    statement = _update(tuple(values))
    encoded = _encode(values)
    if statement.run(connection, guid_=task.guid, was_=task.state, now_=now, **encoded) != 1:
        raise Conflict(
            f"task {task.guid} is no longer {task.state}; read the task again", state=task.state
        )
    for name, value in values.items():
        setattr(task, name, value)


def change_many(
    connection: sa.Connection, tasks: Sequence[Task], now: int, values: Sequence[JsonObject]
) -> None:
    """Write the same members of many tasks in one statement, with separate values for each task.

    Raises Conflict if a task has left its state meanwhile.
    """
    if len(tasks) == 1:
        change(connection, tasks[0], now, **values[0])
        return
    rows = [
        {"guid_": task.guid, "was_": task.state, "now_": now, **_encode(new)}
        for task, new in zip(tasks, values, strict=True)
    ]
    if rows and _update(tuple(values[0])).many(connection, rows) != len(rows):
        raise Conflict(
            "one of the tasks changed its state during the request; send the request again"
        )
    for task, new in zip(tasks, values, strict=True):
        for name, value in new.items():
            setattr(task, name, value)


def advance(connection: sa.Connection, attempt: int | None, **values: object) -> bool:
    """Increase the progress of a running task and renew its lease; returns False for an ended
    attempt.

    `values`: guid, percent, now and lease (epoch ms), session.
    """
    if attempt is None:
        return _PROGRESS.run(connection, **values) == 1
    return _PROGRESS_OF.run(connection, **values, attempt=attempt) == 1


def have_followers(connection: sa.Connection, guids: Sequence[str]) -> bool:
    """Whether a planned task follows one of these tasks."""
    waiting = (table.c.follows.in_(guids), table.c.state == PLANNED)
    return connection.scalar(sa.select(table.c.guid).where(*waiting).limit(1)) is not None


@cache
def _update(names: tuple[str, ...]) -> Statement:
    assert set(names) <= set(_NAMES)
    values = ", ".join(f"{name} = :{name}" for name in names)
    return Statement(
        f"UPDATE task SET {values}, modified = :now_ WHERE guid = :guid_ AND state = :was_"
    )


def task_of(row: Sequence[Any]) -> Task:
    """The record of a row of COLUMNS."""
    values = dict(zip(_NAMES, row, strict=True))
    for name in _FLAGS:
        values[name] = bool(values[name])
    values["refs"] = _REFS.decode(values["refs"])
    for name in ("params", "results"):
        values[name] = {} if values[name] == "{}" else msgspec.json.decode(values[name])
    values["slots"] = [] if values["slots"] == "[]" else msgspec.json.decode(values["slots"])
    return Task(**values)


def _encode(values: JsonObject) -> JsonObject:
    """The `values`, with values of text columns converted to text."""
    texts = {k: msgspec.json.encode(values[k]).decode() for k in _JSON if k in values}
    return values | texts


_REFS = msgspec.json.Decoder(dict[str, Named])
