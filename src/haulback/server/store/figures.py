"""Figures of the dashboard: counts and sums over machines, backups and restore jobs."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from haulback.inventory.own_server import OWN_ENTITY
from haulback.server.scope import Scope
from haulback.server.store import lists, tables
from haulback.server.store.expressions import Column, Expression
from haulback.server.store.report_tables import IS_FIRST

_DAY_MS = 86_400_000


class StatusCount(NamedTuple):
    """The number of backups in a status, and the bytes that they occupy."""

    backups: int
    stored: int


def unassigned_with_backup(sql: sa.Connection, scope: Scope) -> int:
    """The number of present machines that have a backup but no policy."""
    table = tables.entity.c
    where = [
        table.present,
        table.protection == "UNASSIGNED",
        table.facts != "{}",
        table.guid != OWN_ENTITY,
    ]
    where += _scoped(table.project, scope)
    return sql.scalar(sa.select(sa.func.count()).where(*where)) or 0


def backup_counts(
    sql: sa.Connection, scope: Scope, start: int, end: int | None
) -> dict[str, StatusCount]:
    """Backups created between two moments (epoch ms), by status."""
    table = tables.backup.c
    where = [table.created >= start, IS_FIRST, *_scoped(table.project, scope)]
    where += [table.created <= end] if end is not None else []
    query = sa.select(table.status, sa.func.count(), sa.func.sum(table.stored)).where(*where)
    rows = sql.execute(query.group_by(table.status))
    return {row[0]: StatusCount(int(row[1]), int(row[2] or 0)) for row in rows}


def stored_bytes(sql: sa.Connection, scope: Scope) -> dict[str, int]:
    """Bytes that backups occupy, by destination."""
    table = tables.backup.c
    query = sa.select(table.destination, sa.func.sum(table.stored))
    query = query.where(~table.gone, *_scoped(table.project, scope))
    return {row[0]: int(row[1] or 0) for row in sql.execute(query.group_by(table.destination))}


def backed_up_by_day(sql: sa.Connection, scope: Scope, span: range) -> dict[str, int]:
    """Bytes of successful backups by day (epoch ms of its midnight), between two times (epoch
    ms).
    """
    return _by_day(sql, tables.backup, lists.held(), span, scope)


def restored_by_day(sql: sa.Connection, scope: Scope, span: range) -> dict[str, int]:
    """Bytes of successful restores by day (epoch ms of its midnight), between two times (epoch
    ms).
    """
    return _by_day(sql, tables.restore_job, tables.restore_job.c.size, span, scope)


def _by_day(
    sql: sa.Connection, table: sa.Table, size: Expression, span: range, scope: Scope
) -> dict[str, int]:
    """Bytes of successful jobs by day, zero for a day without any."""
    day = sa.cast(table.c.created, sa.BigInteger) - table.c.created % _DAY_MS
    first, last = (moment - moment % _DAY_MS for moment in (span.start, span.stop - 1))
    where = [table.c.created >= first, table.c.created < span.stop, table.c.status == "SUCCESS"]
    where += _scoped(table.c.project, scope)
    where += [IS_FIRST] if table is tables.backup else []
    query = sa.select(day, sa.func.sum(size)).where(*where)
    sums = {int(row[0]): int(row[1]) for row in sql.execute(query.group_by(day))}
    return {str(moment): sums.get(moment, 0) for moment in range(first, last + 1, _DAY_MS)}


def _scoped(column: Column, scope: Scope) -> list[sa.ColumnElement[bool]]:
    return [] if scope.listed is None else [column.in_(scope.listed)]
