"""Rows of daily reports: one for each policy and local date."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.server.store.raw_sql import Statement
from haulback.server.store.report_tables import daily_report as table

_CLAIM = Statement(
    "INSERT INTO daily_report (policy, local_date, until) VALUES (:policy, :date, :until) "
    "ON CONFLICT DO NOTHING"
)
_MANY = 500  # rows of one statement


def last_ends(sql: sa.Connection) -> dict[str, int]:
    """The end (epoch ms) of the last report of each policy."""
    query = sa.select(table.c.policy, sa.func.max(table.c.until)).group_by(table.c.policy)
    return {row[0]: int(row[1]) for row in sql.execute(query)}


def made(sql: sa.Connection, date: str) -> set[str]:
    """The policies for which the report of a date (ISO) exists."""
    return set(sql.scalars(sa.select(table.c.policy).where(table.c.local_date == date)))


def claim(sql: sa.Connection, policy: str, date: str, until: int) -> bool:
    """Insert a row; False if another server has made the report of this date."""
    return _CLAIM.run(sql, policy=policy, date=date, until=until) == 1


def void(sql: sa.Connection, after: int) -> None:
    """Delete the rows of reports that end after a time (epoch ms), because the clock was set
    back.
    """
    sql.execute(sa.delete(table).where(table.c.until > after))


def forget(sql: sa.Connection, before: str) -> None:
    """Delete the rows of dates (ISO) earlier than a date."""
    sql.execute(sa.delete(table).where(table.c.local_date < before))
