"""Snapshots and shares, as tasks and inventories change what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.inventory.derived_guids import volume_guid
from haulback.inventory.records import BackupVolume, Mount, PlatformSnapshot
from haulback.server.store import mount_tables, tables
from haulback.server.store.catalogue import one, records, row_of
from haulback.server.store.snapshot_origin import Origin, origin
from haulback.tasks.record import NewMount

_NAME = 200  # letters that are kept of a platform's name
Held = Mapping[str, int]  # times in epoch ms by the platform's name


class SnapshotLedger:
    """The part of a ledger that knows snapshots."""

    _sql: sa.Connection
    now: int

    def snapshot_taken(self, taken: PlatformSnapshot) -> None:
        table = tables.snapshot
        same = (table.c.entity == taken.entity, table.c.uuid == taken.uuid)
        if self._sql.scalar(sa.select(table.c.guid).where(*same)) is None:
            self._sql.execute(sa.insert(table).values(row_of(taken, table)))

    def snapshots_gone(self, entity: str, names: Iterable[str]) -> None:
        table = tables.snapshot
        gone = (table.c.entity == entity, table.c.uuid.in_(list(names)))
        self._sql.execute(sa.delete(table).where(*gone))

    def snapshots_seen(self, hypervisor: str, machines: Mapping[str, Held], *, since: int) -> None:
        if not machines:
            return
        entity = tables.entity.c
        here = sa.select(entity.guid, entity.uuid, entity.project)
        found = self._sql.execute(here.where(entity.hypervisor == hypervisor)).all()
        known = self._known(hypervisor)
        for row in found:
            if row.uuid not in machines:
                continue
            held = {name[:_NAME]: time for name, time in machines[row.uuid].items()}
            before = known.get(row.guid, {})
            gone = [n for n, kept in before.items() if n not in held and kept.created < since]
            self.snapshots_gone(row.guid, gone)
            for name in held.keys() - before.keys():
                self._found(row.guid, row.project, name, held[name])

    def snapshots_left(
        self, node: str, found: Mapping[str, Mapping[str, Held]], *, since: int
    ) -> None:
        hypervisor = tables.hypervisor.c
        for guid in self._sql.scalars(sa.select(hypervisor.guid).where(hypervisor.node == node)):
            self.snapshots_seen(guid, found.get(guid, {}), since=since)

    def _found(self, entity: str, project: str | None, name: str, time: int) -> None:
        """A snapshot that no record names."""
        whose = origin(self._sql, name)
        if whose in (Origin.ABANDONED, Origin.UNDER_WAY):
            return
        ours = whose is Origin.BEFORE
        self.snapshot_taken(
            PlatformSnapshot(
                guid=new_guid(),
                entity=entity,
                uuid=name,
                created=self.now,
                snapshot_time=time,
                managed=ours,
                description="before going back, which did not end well" if ours else None,
                project=project,
            )
        )

    def _known(self, hypervisor: str) -> dict[str, dict[str, PlatformSnapshot]]:
        """What is known of a hypervisor's machines, by entity and name."""
        on = sa.select(tables.entity.c.guid).where(tables.entity.c.hypervisor == hypervisor)
        query = sa.select(tables.snapshot).where(tables.snapshot.c.entity.in_(on))
        found: dict[str, dict[str, PlatformSnapshot]] = {}
        for kept in records(self._sql, query, PlatformSnapshot):
            found.setdefault(kept.entity, {})[kept.uuid] = kept
        return found

    def void_bases(self, entity: str) -> None:
        self._sql.execute(sa.delete(tables.base).where(tables.base.c.entity == entity))


class MountLedger:
    """The part of a ledger that knows what nodes share."""

    _sql: sa.Connection
    now: int

    def mounts_wanted(self, new: Iterable[NewMount]) -> None:
        """Shares of a plan."""
        for wanted in new:
            made = Mount(**msgspec.structs.asdict(wanted), created=self.now)
            self._sql.execute(
                sa.insert(mount_tables.mounted_backup).values(
                    row_of(made, mount_tables.mounted_backup)
                )
            )

    def contains(self, backup: str, volumes: list[BackupVolume]) -> None:
        found = msgspec.json.encode(volumes[:1000]).decode()
        here = tables.backup.c.guid == backup
        self._sql.execute(sa.update(tables.backup).where(here).values(volumes=found))

    def mounted(self, mount: str, found: dict[str, Any], volumes: list[BackupVolume]) -> None:
        table = mount_tables.mounted_backup
        known = one(self._sql, table, Mount, mount, "mounted backup")
        values: dict[str, Any] = {"state": "MOUNTED", "mounted": self.now}
        values["found"] = msgspec.json.encode(found).decode()
        values["unmount_at"] = self.now + known.keep if known.keep else None
        self._sql.execute(sa.update(table).where(table.c.guid == mount).values(values))
        shown = mount_tables.mounted_volume
        self._sql.execute(sa.delete(shown).where(shown.c.mount == mount))
        rows = [
            {
                "guid": volume_guid(mount, volume.name),
                "mount": mount,
                "number": number,
                "body": msgspec.json.encode(volume).decode(),
            }
            for number, volume in enumerate(volumes)
        ]
        if rows:
            self._sql.execute(sa.insert(shown), rows)
            self._raise_level(known.backup)

    def _raise_level(self, backup: str) -> None:
        """Its file systems have been read: more than that it is stored."""
        table = tables.backup.c
        lower = (table.level.in_(("STORED", "VERIFIED")), table.status == "SUCCESS")
        here = sa.update(tables.backup).where(table.guid == backup, *lower)
        self._sql.execute(here.values(level="MOUNTED"))

    def mount_moved(self, mount: str, state: str) -> None:
        table = mount_tables.mounted_backup
        values = {"state": state, "unmount_at": None}
        self._sql.execute(sa.update(table).where(table.c.guid == mount).values(values))

    def mount_until(self, mount: str, moment: int, *, if_due: bool = False) -> None:
        table = mount_tables.mounted_backup
        here = sa.update(table).where(table.c.guid == mount, table.c.state == "MOUNTED")
        if if_due:
            here = here.where(table.c.unmount_at <= self.now)
        self._sql.execute(here.values(unmount_at=moment))

    def runs_from(self, mount: str, hypervisor: str, machine: str) -> None:
        table = mount_tables.mounted_backup
        here = sa.update(table).where(table.c.guid == mount)
        self._sql.execute(here.values(hypervisor=hypervisor, machine=machine))
