"""The table of daily reports, and the indexes that reports read; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, func, text

from haulback.server.store.tables import backup, metadata

_GUID = String(36)
FAILED = text("status IN ('FAILED', 'PARTIAL_SUCCESS')")
_SUMMED = (
    *("entity", "destination", "rule", "project", "status", "type", "size", "read", "stored"),
    "copy_of",
)

# A row for each policy and local date, so that only one of several servers makes the report.
# `until` is the end (epoch ms) of the reported period, where the next period begins.
daily_report = Table(
    "daily_report",
    metadata,
    Column("policy", _GUID, primary_key=True),
    Column("local_date", String(10), primary_key=True),
    Column("until", BigInteger, nullable=False),
)

# The backups without their copies, with a condition that only this index has: SQLite would
# otherwise use another partial index of such rows, and read each row.
IS_FIRST = func.coalesce(backup.c.copy_of, "") == ""
# All columns that reports sum and group by, because the rows of backups are wide.
Index("backup_report", backup.c.created, *(backup.c[name] for name in _SUMMED))
Index("backup_failed", backup.c.created, sqlite_where=FAILED, postgresql_where=FAILED)
