"""The catalogue on a connection: records that planning and preparing read, by kind."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store.backup_catalogue import BackupCatalogue
from haulback.server.store.base_catalogue import BaseCatalogue
from haulback.server.store.machine_catalogue import MachineCatalogue
from haulback.server.store.mount_catalogue import MountCatalogue
from haulback.server.store.place_catalogue import PlaceCatalogue
from haulback.server.store.record_catalogue import RecordCatalogue
from haulback.server.store.snapshot_catalogue import SnapshotCatalogue
from haulback.server.store.work_catalogue import WorkCatalogue


class SqlCatalogue:
    """`inventory.catalogue.Catalogue` on a connection, within the projects of `scope`."""

    def __init__(self, sql: sa.Connection, scope: Scope = EVERYTHING) -> None:
        self.places = PlaceCatalogue(sql)
        self.records = RecordCatalogue(sql, scope)
        self.machines = MachineCatalogue(sql, scope, self.records)
        self.backups = BackupCatalogue(sql, scope)
        self.bases = BaseCatalogue(sql)
        self.snapshots = SnapshotCatalogue(sql, scope)
        self.mounts = MountCatalogue(sql, scope)
        self.work = WorkCatalogue(sql, self.bases)
