"""Changes of the snapshots on platforms, by tasks and inventory scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.inventory.records import PlatformSnapshot
from haulback.server.store import tables
from haulback.server.store.rows import records, row_of
from haulback.server.store.snapshot_origin import Origin, origin

_NAME = 200  # maximum length of a stored platform name, in characters
Held = Mapping[str, int]  # times in epoch ms by name on the platform


class SnapshotLedger:
    """`inventory.ledger.SnapshotChanges` on a connection, at the server time `now`."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now

    def taken(self, taken: PlatformSnapshot) -> None:
        table = tables.snapshot
        same = (table.c.entity == taken.entity, table.c.uuid == taken.uuid)
        if self._sql.scalar(sa.select(table.c.guid).where(*same)) is None:
            self._sql.execute(sa.insert(table).values(row_of(taken, table)))

    def gone(self, entity: str, names: Iterable[str]) -> None:
        table = tables.snapshot
        gone = (table.c.entity == entity, table.c.uuid.in_(list(names)))
        self._sql.execute(sa.delete(table).where(*gone))

    def seen(self, hypervisor: str, machines: Mapping[str, Held], *, since: int) -> None:
        if not machines:
            return
        entity = tables.entity.c
        here = sa.select(entity.guid, entity.uuid, entity.project)
        result = self._sql.execute(here.where(entity.hypervisor == hypervisor)).all()
        known = self._known(hypervisor)
        for row in result:
            if row.uuid not in machines:
                continue
            held = {name[:_NAME]: time for name, time in machines[row.uuid].items()}
            before = known.get(row.guid, {})
            gone = [n for n, kept in before.items() if n not in held and kept.created < since]
            self.gone(row.guid, gone)
            for name in held.keys() - before.keys():
                self._found(row.guid, row.project, name, held[name])

    def left(self, node: str, found: Mapping[str, Mapping[str, Held]], *, since: int) -> None:
        hypervisor = tables.hypervisor.c
        for guid in self._sql.scalars(sa.select(hypervisor.guid).where(hypervisor.node == node)):
            self.seen(guid, found.get(guid, {}), since=since)

    def _found(self, entity: str, project: str | None, name: str, time: int) -> None:
        """A snapshot that no record names."""
        whose = origin(self._sql, name)
        if whose in (Origin.ABANDONED, Origin.UNDER_WAY):
            return
        ours = whose is Origin.BEFORE
        self.taken(
            PlatformSnapshot(
                guid=new_guid(),
                entity=entity,
                uuid=name,
                created=self._now,
                snapshot_time=time,
                managed=ours,
                description="the state before a failed revert" if ours else None,
                project=project,
            )
        )

    def _known(self, hypervisor: str) -> dict[str, dict[str, PlatformSnapshot]]:
        """The recorded snapshots of a hypervisor's machines, by entity and name."""
        on = sa.select(tables.entity.c.guid).where(tables.entity.c.hypervisor == hypervisor)
        query = sa.select(tables.snapshot).where(tables.snapshot.c.entity.in_(on))
        found: dict[str, dict[str, PlatformSnapshot]] = {}
        for kept in records(self._sql, query, PlatformSnapshot):
            found.setdefault(kept.entity, {})[kept.uuid] = kept
        return found
