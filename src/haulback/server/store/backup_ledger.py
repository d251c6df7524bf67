"""Changes of backups that tasks make."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from haulback.contract.store import BackupVolume
from haulback.ids import new_guid
from haulback.inventory.records import NOT_DECIDED, Backup
from haulback.server.store import copy_links, new_backup_terms, retention, tables
from haulback.server.store.backup_times import with_times
from haulback.server.store.last_backups import recall
from haulback.server.store.raw_sql import Insert
from haulback.server.store.rows import json_text, one, records, row_of
from haulback.tasks.record import NewBackup, Task
from haulback.units import DAY_MS
from haulback.wire import JsonObject, Named

# Columns with the same value at each location of a backup.
_SHARED = (
    *("type", "snapshot_time", "size", "read", "files", "definition", "volumes", "warnings"),
    *("consistency", "description"),
)
_CAN_FAIL = (*NOT_DECIDED, "PARTIAL_SUCCESS")
_COPY_AGAIN_MS = 600_000  # wait after a copy that failed once
_LONGEST_MS = DAY_MS  # wait after many failures, and after a user cancelled the copy
_DOUBLINGS = 8  # factor of the wait after each failure, up to the longest wait
_BACKUPS = Insert("backup", Backup.__struct_fields__)


class BackupLedger:
    """`inventory.ledger.BackupChanges` on a connection, at the server time `now`."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now

    def started(self, backup: str) -> None:
        self._change(backup, ("QUEUED",), status="INPROGRESS")

    def exported(self, backup: str, kind: str, snapshot_time: int, size: int, read: int) -> None:
        self._change(backup, type=kind, snapshot_time=snapshot_time, size=size, read=read)

    def described(
        self, backup: str, files: list[JsonObject], definition: JsonObject, consistency: str | None
    ) -> None:
        values: JsonObject = {"files": json_text(files), "definition": json_text(definition)}
        self._change(backup, **values, consistency=consistency)

    def type_changed(self, task: Task, kind: str, warnings: list[str]) -> None:
        backup, table = task.ref("backup") or "", tables.task
        self._change(backup, type=kind, warnings=json_text(warnings))
        both = sa.or_(table.c.guid == task.guid, table.c.follows == task.guid)
        values = {"backup_type": kind, "modified": self._now}
        self._sql.execute(sa.update(table).where(both).values(**values))
        task.backup_type = kind

    def warned(self, backup: str, warnings: list[str]) -> None:
        if warnings:
            self._change(backup, warnings=json_text([text[:2000] for text in warnings[:100]]))

    def contains(self, backup: str, volumes: list[BackupVolume]) -> None:
        here = tables.backup.c.guid == backup
        text = json_text(volumes[:1000])
        self._sql.execute(sa.update(tables.backup).where(here).values(volumes=text))

    def stored(self, backup: str, stored: int, parent: str | None) -> None:
        record = one(self._sql, tables.backup, Backup, backup, "backup")
        making = new_backup_terms.of(self._sql, record)
        end = self._now + making.lock_ms if making.lock_ms else None
        values: JsonObject = {"stored": stored, "parent": parent, "stored_time": self._now}
        values |= {"keep_until": end, "lock_until": end, "terms": making.terms}
        self._change(backup, status="SUCCESS", **values)
        recall(self._sql, record.entity)  # for portals, which read the last backup
        copy_links.look(self._sql, record.guid, record.destination, self._now)
        if record.rule:
            due = {"destination": record.destination, "entity": record.entity, "rule": record.rule}
            retention.add_due(self._sql, due, self._now)

    def copied(self, copy: str, stored: int, parent: str | None) -> None:
        record = one(self._sql, tables.backup, Backup, copy, "backup")
        first = one(self._sql, tables.backup, Backup, record.first, "backup")
        facts = row_of(first, tables.backup)
        self._change(copy, **{name: facts[name] for name in _SHARED})
        self.stored(copy, stored, parent)

    def partial(self, backup: str, reason: str) -> None:
        self._change(backup, status="PARTIAL_SUCCESS", status_info=reason)
        self._judge_anew(backup)

    def failed(self, backup: str, reason: str) -> None:
        self._change(backup, _CAN_FAIL, status="FAILED", status_info=reason)
        self._judge_anew(backup)

    def copy_failed(self, copy: str, source: str, reason: str, *, cancelled: bool) -> None:
        self.failed(copy, reason)
        query = sa.select(tables.backup).where(tables.backup.c.guid == copy)
        for record in records(self._sql, query, Backup):  # None once its destination is removed
            wait = _LONGEST_MS if cancelled else self._wait_after(record)
            guid = copy_links.on_source(self._sql, record.first, source)
            if guid:
                copy_links.look(self._sql, guid, source, self._now + wait)

    def _wait_after(self, copy: Backup) -> int:
        """The wait in ms before a failed copy is repeated: twice the wait after its last failure.

        Records of older failures whose objects are removed are deleted, because a link may fail for
        years.
        """
        table = tables.backup.c
        same = (table.copy_of == copy.copy_of, table.destination == copy.destination)
        query = sa.select(table.guid).where(*same, table.status == "FAILED")
        query = query.order_by(table.created.desc(), table.guid)
        failures = list(self._sql.scalars(query.limit(2 * _DOUBLINGS)))
        old = (table.guid.in_(failures[_DOUBLINGS + 1 :]), table.gone)
        self._sql.execute(sa.delete(tables.backup).where(*old))
        return min(_LONGEST_MS, _COPY_AGAIN_MS << min(max(len(failures) - 1, 0), _DOUBLINGS))

    def _judge_anew(self, backup: str) -> None:
        """Make the protection of a backup's machine due for evaluation."""
        of = sa.select(tables.backup.c.entity).where(tables.backup.c.guid == backup)
        here = tables.entity.c.guid == of.scalar_subquery()
        self._sql.execute(sa.update(tables.entity).where(here).values(protection_due=0))

    def timed(self, task: Task) -> None:
        backup = task.ref("backup")
        if backup is None or task.started is None:
            return
        table = tables.backup
        text = self._sql.scalar(sa.select(table.c.times).where(table.c.guid == backup))
        times = with_times(text, task)
        self._sql.execute(sa.update(table).where(table.c.guid == backup).values(times=times))

    def begun(self, new: Iterable[NewBackup], origin: JsonObject) -> None:
        """Backup entries of a plan."""
        rows = (
            row_of(
                Backup(
                    **msgspec.structs.asdict(entry),
                    location=new_guid(),
                    created=self._now,
                    origin=origin,
                ),
                tables.backup,
            )
            for entry in new
        )
        _BACKUPS(self._sql, rows)

    def begun_again(self, backup: str, why: str) -> Named:
        """Fail a backup that cannot be completed, and add an entry in its place."""
        old = one(self._sql, tables.backup, Backup, backup, "backup")
        self.failed(backup, why)
        new = NewBackup(
            guid=new_guid(),
            entity=old.entity,
            entity_name=old.entity_name,
            destination=old.destination,
            type=old.type,
            project=old.project,
            rule=old.rule,
        )
        self.begun([new], old.origin)
        if old.status in _CAN_FAIL:  # the copies of a stored backup remain copies of that backup
            copies = sa.update(tables.backup).where(tables.backup.c.copy_of == backup)
            self._sql.execute(copies.values(copy_of=new.guid))
        return Named(new.guid, old.entity_name)

    def _change(self, backup: str, states: tuple[str, ...] = NOT_DECIDED, **values: object) -> None:
        # A late task does not change a stored backup.
        where = (tables.backup.c.guid == backup, tables.backup.c.status.in_(states))
        self._sql.execute(sa.update(tables.backup).where(*where).values(**values))
