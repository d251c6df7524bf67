"""Queued and running tasks, by the object that they use."""

from __future__ import annotations

import re

import msgspec
import sqlalchemy as sa

from haulback.inventory.records import Backup
from haulback.server.store import mounts, tables, tasks
from haulback.server.store.base_catalogue import BaseCatalogue
from haulback.server.store.snapshot_origin import Origin, origin
from haulback.tasks.record import Task

_ATTEMPT = re.compile(
    r"(?P<task>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<number>[0-9]{1,9})$"
)
_LIVE = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")
_COPYING = "BACKUP_DESTINATION_SYNC"
_BUSY = (
    *("EXPORT", "STORE", "RESTORE", "IMPORT", "MOUNT", "SNAPSHOT", "SNAPSHOT_REVERSION"),
    _COPYING,
)
_READERS = (*_BUSY, "PROVE")  # a proof reads a backup, and leaves its machine free for other tasks


class WorkCatalogue:
    """`inventory.catalogue.WorkInProgress` on a connection."""

    def __init__(self, sql: sa.Connection, bases: BaseCatalogue) -> None:
        self._sql, self._bases = sql, bases

    def is_busy(self, entity: str) -> bool:
        table = tables.task.c
        where = (_LIVE, table.entity == entity, table.type.in_(_BUSY))
        return self._sql.scalar(sa.select(table.guid).where(*where).limit(1)) is not None

    def under_way(self, role: str, guid: str, *kinds: str) -> list[Task]:
        if self._sql.dialect.name == "postgresql":  # SQLite has one writer
            mark = sa.func.hashtext(guid)
            self._sql.execute(sa.select(sa.func.pg_advisory_xact_lock(mark)))
        table = tables.task.c
        where = (_LIVE, table[tables.REF_COLUMNS[role]] == guid, table.type.in_(kinds))
        query = sa.select(*tasks.COLUMNS).where(*where).order_by(table.created)
        return [tasks.task_of(row) for row in self._sql.execute(query)]

    def is_in_use(self, backup: Backup) -> bool:
        table = tables.task.c
        where = (_LIVE, table.entity == backup.entity, table.type.in_(_READERS))
        live = set(self._sql.scalars(sa.select(table.backup).where(*where)))
        if mounts.is_mounted(self._sql, backup.guid):
            return True
        bases = {base.backup for base in self._bases.of_entity(backup.entity)}
        return backup.guid in live or (backup.guid in bases and bool(live))

    def pins(self, destination: str) -> list[str]:
        """Attempts that use a destination now, or whose export waits to be stored on it."""
        task = tables.task.c
        query = sa.select(task.guid, task.state, task.attempt, task.params)
        result = []
        for row in self._sql.execute(query.where(_LIVE, task.destination == destination)):
            if row.state == "RUNNING":
                result.append(f"{row.guid}-{row.attempt}")
            if staging := msgspec.json.decode(row.params).get("staging"):
                result.append(str(staging))
        return [*result, *self._copying_from(destination)]

    def _copying_from(self, destination: str) -> list[str]:
        """Attempts that copy backups from a destination now."""
        task = tables.task.c
        running = (sa.text("state = 'RUNNING'"), task.type == _COPYING)
        query = sa.select(task.guid, task.attempt, task.params).where(*running)
        return [
            f"{row.guid}-{row.attempt}"
            for row in self._sql.execute(query)
            if msgspec.json.decode(row.params).get("source") == destination
        ]

    def is_needed(self, name: str) -> bool:
        """Whether an attempt runs, its export waits to be stored, or an increment builds on it.

        `name` is the name of an attempt, a checkpoint that ends with the attempt's name, or the
        guid of a mount.
        """
        where = tables.base.c.checkpoint == name
        if self._sql.scalar(sa.select(tables.base.c.entity).where(where).limit(1)):
            return True
        match = _ATTEMPT.search(name)
        if match is None:
            return mounts.is_wanted(self._sql, name)
        return self._attempt_lives(match["task"], int(match["number"]))

    def is_abandoned(self, snapshot: str) -> bool:
        """Whether a failed attempt took a snapshot that no record names."""
        column = tables.snapshot.c.uuid
        if self._sql.scalar(sa.select(column).where(column == snapshot).limit(1)):
            return False
        return origin(self._sql, snapshot) is Origin.ABANDONED

    def _attempt_lives(self, guid: str, number: int) -> bool:
        task = tables.task.c
        query = sa.select(task.state, task.attempt).where(task.guid == guid)
        row = self._sql.execute(query).one_or_none()
        if row is None or row.attempt != number:
            return False
        if row.state == "RUNNING":
            return True
        waiting = (task.follows == guid, task.state.in_(("QUEUED", "RUNNING")))
        params = self._sql.scalars(sa.select(task.params).where(*waiting))
        return any("staging" in msgspec.json.decode(text) for text in params)
