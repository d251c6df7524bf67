"""Backups that planning reads, within a caller's projects."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from haulback.contract.damage import LocationStatus
from haulback.errors import NotFound
from haulback.inventory.records import Backup
from haulback.server.scope import Scope
from haulback.server.store import backup_locations, copy_links, new_backup_terms, tables
from haulback.server.store.rows import one, records

_LACKING = 100  # copies that one task makes


class BackupCatalogue:
    """`inventory.catalogue.BackupRecords` on a connection."""

    def __init__(self, sql: sa.Connection, scope: Scope) -> None:
        self._sql, self._scope = sql, scope

    def get(self, guid: str) -> Backup:
        return self._in_scope(one(self._sql, tables.backup, Backup, guid, "backup"), guid)

    def locations(self, guid: str) -> list[Backup]:
        first = self.get(self.get(guid).first)
        return [first, *backup_locations.copies_of(self._sql, [first.guid]).get(first.guid, [])]

    def lacking(self, entity: str, rule: str, source: str, target: str) -> list[Backup]:
        return copy_links.lacking(
            self._sql, copy_links.Route(source, target, entity, rule), _LACKING
        )

    def copies(self, guids: Sequence[str]) -> list[Backup]:
        query = sa.select(tables.backup).where(tables.backup.c.guid.in_(guids))
        by_guid = {copy.guid: copy for copy in records(self._sql, query, Backup)}
        return [by_guid[guid] for guid in guids if guid in by_guid]

    def newest_before(self, copy: Backup, moment: int) -> str | None:
        table = tables.backup.c
        query = sa.select(table.guid).where(
            table.entity == copy.entity,
            table.destination == copy.destination,
            table.status == "SUCCESS",
            table.location_status == LocationStatus.PRESENT.value,
            table.snapshot_time < moment,
        )
        newest: str | None = self._sql.scalar(query.order_by(table.snapshot_time.desc()).limit(1))
        return newest

    def held(self, guid: str) -> Backup:
        table = tables.backup
        query = sa.select(table).where(table.c.guid == guid)
        # FOR KEY SHARE waits for a removal by retention, but for no other change of the row.
        for found in records(self._sql, query.with_for_update(read=True, key_share=True), Backup):
            return self._in_scope(found, guid)
        raise NotFound(f"there is no backup {guid}", guid=guid)

    def of_entity(self, entity: str, *statuses: str) -> list[Backup]:
        table = tables.backup.c
        query = sa.select(tables.backup).where(table.entity == entity, table.status.in_(statuses))
        # A copy is created after its backup, so it is no newer state of the machine.
        newest = sa.func.coalesce(table.snapshot_time, table.created).desc()
        order = (newest, table.copy_of.is_not(None), table.created.desc(), table.guid)
        return records(self._sql, query.order_by(*order), Backup)

    def stored_on(self, destination: str) -> list[Backup]:
        table = tables.backup.c
        where = (table.destination == destination, table.status == "SUCCESS")
        return records(self._sql, sa.select(tables.backup).where(*where), Backup)

    def to_delete(self, destination: str, entity: str | None = None) -> list[str]:
        table = tables.backup.c
        decided = sa.text("status IN ('SUCCESS_REMOVED', 'FAILED') AND NOT gone")
        query = sa.select(table.guid).where(decided, table.destination == destination)
        if entity:
            query = query.where(table.entity == entity)
        return list(self._sql.scalars(query.order_by(table.created)))

    def at_location(self, guid: str) -> Backup:
        query = sa.select(tables.backup).where(tables.backup.c.location == guid)
        for found in records(self._sql, query, Backup):
            if self._scope.allows(found.project):
                return found
        raise NotFound(f"there is no backup location {guid}", guid=guid)

    def lock_of(self, guid: str) -> int:
        return new_backup_terms.lock_of(
            self._sql, one(self._sql, tables.backup, Backup, guid, "backup")
        )

    def given_up(self, destination: str) -> list[str]:
        table = tables.backup.c
        where = (
            table.destination == destination,
            table.status == "SUCCESS",
            table.location_status == LocationStatus.GIVEN_UP.value,
        )
        return list(self._sql.scalars(sa.select(table.guid).where(*where)))

    def _in_scope(self, found: Backup, guid: str) -> Backup:
        if not self._scope.allows(found.project):
            raise NotFound(f"there is no backup {guid}", guid=guid)
        return found
