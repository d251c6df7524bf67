"""Task rows: written once, changed by guid, read back as the record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.errors import Conflict, NotFound
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store.tables import REF_COLUMNS
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task
from haulback.tasks.states import PLANNED

_JSON = ("refs", "params", "results", "slots")
_MANY = 500
COLUMNS = [table.c[name] for name in Task.__struct_fields__]


def insert(connection: sa.Connection, tasks: Iterable[Task]) -> None:
    """Add tasks, and what they refer to as columns."""
    rows = [_encode({**msgspec.structs.asdict(t), **_about(t)}) for t in tasks]
    if rows:
        connection.execute(sa.insert(table), rows)


def _about(task: Task) -> dict[str, Any]:
    return {column: task.ref(role) for role, column in REF_COLUMNS.items()} | {"names": task.names}


def get(
    connection: sa.Connection, guid: str, scope: Scope = EVERYTHING, *, lock: bool = False
) -> Task:
    """One task, archived ones and planned ones included; with `lock` until the transaction ends.

    Raises NotFound.
    """
    found = find(connection, guid, lock=lock)
    if found is None or not scope.allows(found.project):
        raise NotFound(f"there is no task {guid}", guid=guid)
    return found


def find(connection: sa.Connection, guid: str, *, lock: bool = False) -> Task | None:
    """The same, None for an unknown guid."""
    query = sa.select(*COLUMNS).where(table.c.guid == guid)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return task_of(row) if row else None


def get_many(connection: sa.Connection, guids: Sequence[str]) -> dict[str, Task]:
    """Those that exist, locked, in one order for everybody."""
    found: dict[str, Task] = {}
    for at in range(0, len(guids), _MANY):
        query = sa.select(*COLUMNS).where(table.c.guid.in_(guids[at : at + _MANY]))
        rows = connection.execute(query.order_by(table.c.guid).with_for_update())
        found |= {row.guid: task_of(row) for row in rows}
    return found


def visible(
    connection: sa.Connection, guid: str, scope: Scope = EVERYTHING, *, lock: bool = False
) -> Task:
    """One task that a caller may see.  Raises NotFound for planned and removed ones."""
    found = get(connection, guid, scope, lock=lock)
    if found.state == PLANNED or found.archived:
        raise NotFound(f"there is no task {guid}", guid=guid)
    return found


def forget(connection: sa.Connection, before: int, limit: int = 200) -> int:
    """Delete some of the tasks that were removed from the lists and ended before a time."""
    archived = sa.select(table.c.guid).where(sa.text("archived"), table.c.finished < before)
    done = connection.execute(sa.delete(table).where(table.c.guid.in_(archived.limit(limit))))
    return done.rowcount


def followers(connection: sa.Connection, guid: str) -> list[Task]:
    """What waits for a task."""
    query = sa.select(*COLUMNS).where(table.c.follows == guid, table.c.state == PLANNED)
    return [task_of(row) for row in connection.execute(query.order_by(table.c.guid))]


def change(connection: sa.Connection, task: Task, now: int, **values: Any) -> None:
    """Write some members of a task that the caller read in this transaction.

    Raises Conflict when it left its state meanwhile.
    """
    done = connection.execute(
        sa.update(table)
        .where(table.c.guid == task.guid, table.c.state == task.state)
        .values(**_encode(values), modified=now)
    )
    if done.rowcount != 1:
        raise Conflict(f"task {task.guid} is no longer {task.state}", state=task.state)
    for name, value in values.items():
        setattr(task, name, value)


def task_of(row: sa.Row[Any]) -> Task:
    """The record of a row."""
    values = {str(name): value for name, value in row._mapping.items()}
    for name in _JSON:
        values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, Task)


def _encode(values: dict[str, Any]) -> dict[str, Any]:
    return {k: msgspec.json.encode(v).decode() if k in _JSON else v for k, v in values.items()}
