"""Mounts of nodes, read without related records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.contract.store import BackupVolume
from haulback.inventory.records import ShownFileSystem
from haulback.server.store import mount_tables, tables

WANTED = ("QUEUED", "MOUNTED")
table = mount_tables.mounted_backup.c
_volume = mount_tables.mounted_volume.c


def volumes(sql: sa.Connection, mount: str) -> list[ShownFileSystem]:
    """The file systems of a mount."""
    query = sa.select(mount_tables.mounted_volume).where(_volume.mount == mount)
    return [_shown(row) for row in sql.execute(query.order_by(_volume.number))]


def volume(sql: sa.Connection, guid: str) -> ShownFileSystem | None:
    """A file system of a mount by its guid, None for an unknown guid."""
    query = sa.select(mount_tables.mounted_volume).where(_volume.guid == guid)
    row = sql.execute(query).one_or_none()
    return _shown(row) if row else None


def _shown(row: Any) -> ShownFileSystem:
    return ShownFileSystem(row.guid, row.mount, msgspec.json.decode(row.body, type=BackupVolume))


def counts(sql: sa.Connection, guids: Sequence[str]) -> dict[str, int]:
    """The number of file systems of each of these mounts."""
    query = sa.select(_volume.mount, sa.func.count()).where(_volume.mount.in_(guids))
    return {row[0]: row[1] for row in sql.execute(query.group_by(_volume.mount))}


def is_mounted(sql: sa.Connection, backup: str) -> bool:
    """Whether a node mounts a backup, or will do so soon."""
    query = sa.select(table.guid).where(table.backup == backup, table.state.in_(WANTED))
    return sql.scalar(query.limit(1)) is not None


def is_wanted(sql: sa.Connection, guid: str) -> bool:
    """Whether a mount should exist."""
    query = sa.select(table.guid).where(table.guid == guid, table.state.in_(WANTED))
    return sql.scalar(query) is not None


def shared_by(sql: sa.Connection, node: str) -> list[str]:
    """The guids of the mounts of a node."""
    query = sa.select(table.guid).where(table.node == node, table.state == "MOUNTED")
    return list(sql.scalars(query))


def due(sql: sa.Connection, now: int) -> list[str]:
    """Mounts that have reached their unmount time and that no task ends."""
    task = tables.task.c
    live = sa.text("task.state IN ('QUEUED', 'RUNNING', 'PLANNED')")
    ended = sa.select(task.guid).where(live, task.mounted_backup == table.guid)
    query = sa.select(table.guid).where(table.state == "MOUNTED", table.unmount_at <= now)
    return list(sql.scalars(query.where(~ended.exists()).limit(100)))
