"""Changes of mounted backups."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from haulback.contract.store import BackupVolume
from haulback.inventory.derived_guids import volume_guid
from haulback.inventory.records import Mount
from haulback.server.store import mount_tables, tables
from haulback.server.store.rows import one, row_of
from haulback.tasks.record import NewMount
from haulback.wire import JsonObject


class MountLedger:
    """`inventory.ledger.MountChanges` on a connection, at the server time `now`."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now

    def mounted(self, mount: str, result: JsonObject, volumes: list[BackupVolume]) -> None:
        table = mount_tables.mounted_backup
        known = one(self._sql, table, Mount, mount, "mounted backup")
        values: JsonObject = {"state": "MOUNTED", "mounted": self._now}
        values["found"] = msgspec.json.encode(result).decode()
        values["unmount_at"] = self._now + known.keep if known.keep else None
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

    def moved(self, mount: str, state: str) -> None:
        table = mount_tables.mounted_backup
        here = sa.update(table).where(table.c.guid == mount, table.c.state != state)
        self._sql.execute(here.values(state=state, unmount_at=self._now))

    def until(self, mount: str, moment: int, *, if_due: bool = False) -> None:
        table = mount_tables.mounted_backup
        here = sa.update(table).where(table.c.guid == mount, table.c.state == "MOUNTED")
        if if_due:
            here = here.where(table.c.unmount_at <= self._now)
        self._sql.execute(here.values(unmount_at=moment))

    def runs_from(self, mount: str, hypervisor: str, machine: str) -> None:
        table = mount_tables.mounted_backup
        here = sa.update(table).where(table.c.guid == mount)
        self._sql.execute(here.values(hypervisor=hypervisor, machine=machine))

    def wanted(self, new: Iterable[NewMount]) -> None:
        """Add the mounts of a plan."""
        for wanted in new:
            made = Mount(**msgspec.structs.asdict(wanted), created=self._now)
            self._sql.execute(
                sa.insert(mount_tables.mounted_backup).values(
                    row_of(made, mount_tables.mounted_backup)
                )
            )

    def _raise_level(self, backup: str) -> None:
        """Raise the level of a backup to MOUNTED, because its file systems have been read."""
        table = tables.backup.c
        lower = (table.level.in_(("STORED", "VERIFIED")), table.status == "SUCCESS")
        here = sa.update(tables.backup).where(table.guid == backup, *lower)
        self._sql.execute(here.values(level="MOUNTED"))
