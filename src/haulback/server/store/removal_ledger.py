"""Removal of backups, and of entities without data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from haulback.inventory.records import REMOVED
from haulback.server.store import mount_tables, tables
from haulback.server.store.alarms import AlarmLedger
from haulback.server.store.inventory_ledger import InventoryLedger
from haulback.server.store.last_backups import recall_without
from haulback.server.store.lost_bases import lose

_MANY = 500  # guids in one statement


class RemovalLedger:
    """`inventory.ledger.RemovalChanges` on a connection."""

    def __init__(self, sql: sa.Connection, alarms: AlarmLedger, inventory: InventoryLedger) -> None:
        self._sql, self._alarms, self._inventory = sql, alarms, inventory

    def remove(self, backups: Iterable[str], why: str) -> None:
        going = list(backups)
        for at in range(0, len(going), _MANY):
            self._remove(going[at : at + _MANY], why)
        self._alarms.clear_all(going)

    def _remove(self, backups: Sequence[str], why: str) -> None:
        table = tables.backup.c
        stored = (table.guid.in_(backups), table.status.in_(("SUCCESS", "PARTIAL_SUCCESS")))
        removed = sa.update(tables.backup).where(*stored).values(status=REMOVED, status_info=why)
        entities = set(self._sql.scalars(removed.returning(table.entity)))
        # An increment must not build on a backup that is being deleted.
        lose(self._sql, tables.base.c.backup.in_(backups), "its backup was removed")
        recall_without(self._sql, entities, backups)

    def deleted(self, backups: Iterable[str]) -> None:
        table = tables.backup.c
        for guid in backups:
            decided = (table.guid == guid, table.status.in_((REMOVED, "FAILED")))
            went = sa.update(tables.backup).where(*decided).values(gone=True)
            self._alarms.clear_all(self._sql.scalars(went.returning(table.guid)))

    def forget_entity(self, entity: str) -> None:
        """Delete an entity that has no data left and no task."""
        backup, task = tables.backup.c, tables.task.c
        left = sa.select(backup.guid).where(backup.entity == entity, ~backup.gone)
        live = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")
        busy = sa.select(task.guid).where(live, task.entity == entity)
        if any(self._sql.scalar(query.limit(1)) for query in (left, busy)):
            return
        self._sql.execute(sa.delete(tables.base).where(tables.base.c.entity == entity))
        self._sql.execute(sa.delete(tables.snapshot).where(tables.snapshot.c.entity == entity))
        of_entity = sa.select(backup.guid).where(backup.entity == entity)
        subjects = [entity, *self._sql.scalars(of_entity)]
        self._forget_mounts(entity)
        self._sql.execute(sa.delete(tables.proof).where(tables.proof.c.backup.in_(of_entity)))
        self._sql.execute(sa.delete(tables.backup).where(backup.entity == entity))
        here = sa.delete(tables.entity).where(tables.entity.c.guid == entity)
        for host in self._sql.scalars(here.returning(tables.entity.c.hypervisor)).all():
            self._inventory.settle_doubt(host)
        self._alarms.clear_all(subjects)

    def _forget_mounts(self, entity: str) -> None:
        mount, volume = mount_tables.mounted_backup, mount_tables.mounted_volume
        ours = sa.select(mount.c.guid).where(mount.c.entity == entity)
        self._sql.execute(sa.delete(volume).where(volume.c.mount.in_(ours)))
        self._sql.execute(sa.delete(mount).where(mount.c.entity == entity))
