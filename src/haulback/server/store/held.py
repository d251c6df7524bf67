"""Snapshots that stay on the platform, as tasks and inventories change what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.inventory.records import Snapshot
from haulback.server.store import tables
from haulback.server.store.catalogue import records, row_of

Held = Mapping[str, int]  # times in epoch ms by the platform's name


class SnapshotLedger:
    """The part of a ledger that knows snapshots."""

    _sql: sa.Connection
    now: int

    def snapshot_taken(self, taken: Snapshot) -> None:
        table = tables.snapshot
        same = (table.c.entity == taken.entity, table.c.uuid == taken.uuid)
        if self._sql.scalar(sa.select(table.c.guid).where(*same)) is None:
            self._sql.execute(sa.insert(table).values(row_of(taken, table)))

    def snapshots_gone(self, entity: str, names: Iterable[str]) -> None:
        table = tables.snapshot
        gone = (table.c.entity == entity, table.c.uuid.in_(list(names)))
        self._sql.execute(sa.delete(table).where(*gone))

    def snapshots_seen(
        self, hypervisor: str, machines: Mapping[str, Held], *, since: int, ours: str
    ) -> None:
        if not machines:
            return
        entity, table = tables.entity.c, tables.snapshot
        here = sa.select(entity.guid, entity.uuid, entity.project)
        found = self._sql.execute(here.where(entity.hypervisor == hypervisor))
        entities = {row.uuid: row for row in found if row.uuid in machines}
        known = self._known(hypervisor)
        for uuid, row in entities.items():
            held, before = machines[uuid], known.get(row.guid, {})
            gone = [n for n, one in before.items() if n not in held and one.created < since]
            if gone:
                self.snapshots_gone(row.guid, gone)
            for name, time in held.items():
                if name in before or name.startswith(ours):
                    continue  # what we took and do not know is a leftover
                theirs = Snapshot(
                    guid=new_guid(),
                    entity=row.guid,
                    uuid=name[:200],
                    created=self.now,
                    snapshot_time=time,
                    managed=False,
                    project=row.project,
                )
                self._sql.execute(sa.insert(table).values(row_of(theirs, table)))

    def _known(self, hypervisor: str) -> dict[str, dict[str, Snapshot]]:
        """What is known of a hypervisor's machines, by entity and name."""
        on = sa.select(tables.entity.c.guid).where(tables.entity.c.hypervisor == hypervisor)
        query = sa.select(tables.snapshot).where(tables.snapshot.c.entity.in_(on))
        found: dict[str, dict[str, Snapshot]] = {}
        for one in records(self._sql, query, Snapshot):
            found.setdefault(one.entity, {})[one.uuid] = one
        return found

    def void_bases(self, entity: str) -> None:
        self._sql.execute(sa.delete(tables.base).where(tables.base.c.entity == entity))
