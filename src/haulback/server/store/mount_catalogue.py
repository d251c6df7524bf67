"""Mounted backups that planning reads, within a caller's projects."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.contract.store import BackupVolume
from haulback.errors import NotFound
from haulback.inventory.records import Entity, Mount
from haulback.server.scope import Scope
from haulback.server.store import mount_tables, mounts
from haulback.server.store.rows import one, records


class MountCatalogue:
    """`inventory.catalogue.MountRecords` on a connection."""

    def __init__(self, sql: sa.Connection, scope: Scope) -> None:
        self._sql, self._scope = sql, scope

    def get(self, guid: str) -> Mount:
        found = one(self._sql, mount_tables.mounted_backup, Mount, guid, "mounted backup")
        if not self._scope.allows(found.project):
            raise NotFound(f"there is no mounted backup {guid}", guid=guid)
        return found

    def volumes(self, mount: str) -> list[tuple[str, BackupVolume]]:
        return [(volume.guid, volume.volume) for volume in mounts.volumes(self._sql, mount)]

    def under_machine(self, entity: Entity) -> Mount | None:
        table = mount_tables.mounted_backup
        here = (table.c.machine == entity.uuid, table.c.hypervisor == entity.hypervisor)
        query = sa.select(table).where(table.c.state == "MOUNTED", *here)
        return next(iter(records(self._sql, query, Mount)), None)
