"""Backup destinations: insertion, change, removal, and their sealed repository keys."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from haulback.contract.order_records import BackupDestination
from haulback.errors import NotFound
from haulback.server.store import backup_locations, mount_tables, rows, tables
from haulback.server.store.breaker_tables import destination_breaker
from haulback.server.store.copy_tables import copy_link
from haulback.server.store.retention_tables import retention_due, retention_state, retention_wait
from haulback.server.store.space_tables import SPACE_TABLES

_BACKUP = tables.backup.c
_PLACES = "places of destinations"  # the lock of transactions that compare locations


def lock_places(sql: sa.Connection) -> None:
    """Let one transaction at a time compare its location with those of all destinations.

    Another server that adds, attaches or moves a destination waits for the end of the transaction.
    """
    if sql.dialect.name == "postgresql":  # SQLite has one writer
        sql.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(_PLACES))))


def add(sql: sa.Connection, record: BackupDestination, sealed_key: str) -> None:
    """Insert a destination with its sealed repository key.  Raises Conflict for a name in use."""
    rows.add(sql, tables.destination, record, sealed_key=sealed_key)


def change(sql: sa.Connection, record: BackupDestination) -> None:
    """Write a destination.  Raises Conflict for a name in use."""
    rows.change(sql, tables.destination, record)


def names(sql: sa.Connection, guids: Collection[str]) -> dict[str, str]:
    """The names of destinations by guid."""
    table = tables.destination.c
    query = sa.select(table.guid, table.name).where(table.guid.in_(list(guids)))
    return {row.guid: row.name for row in sql.execute(query)} if guids else {}


def has_backups(sql: sa.Connection, guid: str) -> bool:
    """Whether a destination may still hold data of a backup."""
    query = sa.select(_BACKUP.guid).where(_BACKUP.destination == guid, ~_BACKUP.gone).limit(1)
    return sql.scalar(query) is not None


def stored_before(sql: sa.Connection, guid: str, moment: int) -> bool:
    """Whether a destination received a backup before a time (epoch ms)."""
    where = (_BACKUP.destination == guid, _BACKUP.stored_time < moment)
    return sql.scalar(sa.select(_BACKUP.guid).where(*where).limit(1)) is not None


def remove(sql: sa.Connection, guid: str) -> list[str]:
    """Delete a destination with the records of its backups; returns the guids of these backups."""
    backup_locations.orphaned(sql, guid)
    sql.execute(
        sa.delete(copy_link).where((copy_link.c.source == guid) | (copy_link.c.target == guid))
    )
    backups = sa.select(_BACKUP.guid).where(_BACKUP.destination == guid)
    removed = list(sql.scalars(backups))
    sql.execute(sa.delete(tables.base).where(tables.base.c.destination == guid))
    for table in (tables.proof, mount_tables.mounted_backup):
        sql.execute(sa.delete(table).where(table.c.backup.in_(backups)))
    sql.execute(sa.delete(tables.backup).where(_BACKUP.destination == guid))
    for table in (*SPACE_TABLES, retention_due, retention_state, destination_breaker):
        sql.execute(sa.delete(table).where(table.c.destination == guid))
    sql.execute(sa.delete(retention_wait).where(retention_wait.c.rule == guid))
    sql.execute(sa.delete(tables.destination).where(tables.destination.c.guid == guid))
    return removed


def sealed_key(sql: sa.Connection, destination: str) -> str:
    """The sealed repository key of a destination.  Raises NotFound."""
    table = tables.destination.c
    found: str | None = sql.scalar(sa.select(table.sealed_key).where(table.guid == destination))
    if found is None:
        raise NotFound(f"there is no backup destination {destination}", guid=destination)
    return found
