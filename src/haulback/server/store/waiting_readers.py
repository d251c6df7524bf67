"""Tasks that wait to read a backup on a destination that does not answer."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task
from haulback.wire import Named

MOST = 100  # tasks that one query returns
_LANES = "('restore', 'import')"
_TYPES = "('RESTORE', 'IMPORT', 'MOUNT', 'PROVE')"
_SHUT = (
    "EXISTS (SELECT 1 FROM destination_breaker AS shut "
    "WHERE shut.destination = {}.destination AND shut.opened IS NOT NULL)"
)
_FIRST = "coalesce(mine.copy_of, mine.guid)"
# Another location of the same backup, PRESENT on a destination that answers.
_ELSEWHERE = (
    f"EXISTS (SELECT 1 FROM backup AS mine JOIN backup AS other "
    f"ON (other.guid = {_FIRST} OR other.copy_of = {_FIRST}) AND other.guid <> mine.guid "
    "WHERE mine.guid = task.backup AND other.status = 'SUCCESS' "
    f"AND other.location_status = 'PRESENT' AND NOT {_SHUT.format('other')})"
)
_WAITING = Statement(
    f"SELECT task.guid FROM task WHERE ready AND lane IN {_LANES} AND type IN {_TYPES} "
    f"AND task.guid > :after AND {_SHUT.format('task')} AND {_ELSEWHERE} "
    f"ORDER BY task.guid LIMIT {MOST}"
)


def waiting(sql: sa.Connection, after: str) -> list[str]:
    """Ready tasks at destinations that do not answer, whose backup is PRESENT on another
    destination.

    At most MOST guids, in their order, greater than `after`.
    """
    return [row[0] for row in _WAITING.rows(sql, after=after)]


def move(
    sql: sa.Connection, task: Task, refs: Mapping[str, Named], pinned_node: str, now: int
) -> None:
    """Change a queued task, locked by the caller, to another location of its backup and a matching
    pin.
    """
    task.refs, task.pinned_node = {**task.refs, **refs}, pinned_node
    values = {
        "refs": msgspec.json.encode(task.refs).decode(),
        "backup": task.ref("backup"),
        "destination": task.ref("backupDestination"),
        "names": task.names,
        "subject": task.subject,
        "pinned_node": pinned_node,
        "modified": now,
    }
    sql.execute(sa.update(table).where(table.c.guid == task.guid).values(values))
