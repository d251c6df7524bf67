"""What starting and finishing tasks writes into inventory and catalogue, in their transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.inventory import retention
from haulback.inventory.records import NOT_DECIDED, REMOVED, Backup, Hypervisor, IncrementBase
from haulback.server.store import alarms, catalogue, managers, mount_tables, tables
from haulback.server.store.catalogue import row_of
from haulback.server.store.damage_ledger import DamageLedger
from haulback.server.store.held import MountLedger, SnapshotLedger
from haulback.server.store.inventory_ledger import InventoryLedger
from haulback.server.store.last_backups import recall
from haulback.server.store.raw_sql import Insert
from haulback.tasks.record import NewBackup, NewRestoreJob, Task
from haulback.wire import Named

_BACKUPS = Insert("backup", Backup.__struct_fields__)
_QUEUED = {"EXPORT": "queuedExportTime", "STORE": "queuedStoreTime", "RESTORE": "queuedRestoreTime"}
_RAN = {"EXPORT": "exportTime", "STORE": "storeTime", "RESTORE": "restoreTime"}
_QUEUED |= {"IMPORT": "queuedImportTime", "MOUNT": "queuedMountTime"}
_RAN |= {"IMPORT": "importTime", "MOUNT": "mountTime"}


Sign = Callable[[bytes], str]


class SqlLedger(SnapshotLedger, MountLedger, DamageLedger, InventoryLedger):
    """`records.Ledger` on a connection, at the server's time `now`."""

    def __init__(self, connection: sa.Connection, now: int, sign: Sign | None = None) -> None:
        self._sql, self.now, self._sign = connection, now, sign

    def begun(self, new: Iterable[NewBackup], origin: dict[str, Any]) -> None:
        """Backup entries of a plan."""
        rows = (
            row_of(
                Backup(
                    **msgspec.structs.asdict(entry),
                    location=new_guid(),
                    created=self.now,
                    origin=origin,
                ),
                tables.backup,
            )
            for entry in new
        )
        _BACKUPS(self._sql, rows)

    def begun_again(self, backup: str, why: str) -> Named:
        """A new entry in place of a backup that cannot be completed, which has failed."""
        old = catalogue.one(self._sql, tables.backup, Backup, backup, "backup")
        self.backup_failed(backup, why)
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
        return Named(new.guid, old.entity_name)

    def restores_begun(self, new: Iterable[NewRestoreJob]) -> None:
        """Restore jobs of a plan."""
        for job in new:
            row = {**row_of(job, tables.restore_job), "status": "QUEUED", "times": "{}"}
            row["created"] = self.now
            self._sql.execute(sa.insert(tables.restore_job).values(row))

    def backup_started(self, backup: str) -> None:
        self._change(backup, ("QUEUED",), status="INPROGRESS")

    def exported(self, backup: str, kind: str, snapshot_time: int, size: int, read: int) -> None:
        self._change(backup, type=kind, snapshot_time=snapshot_time, size=size, read=read)

    def described(
        self, backup: str, files: list[dict[str, Any]], definition: dict[str, Any]
    ) -> None:
        self._change(backup, files=_json(files), definition=_json(definition))

    def became(self, task: Any, kind: str, warnings: list[str]) -> None:
        backup, table = task.ref("backup") or "", tables.task
        self._change(backup, type=kind, warnings=_json(warnings))
        both = sa.or_(table.c.guid == task.guid, table.c.follows == task.guid)
        values = {"backup_type": kind, "modified": self.now}
        self._sql.execute(sa.update(table).where(both).values(**values))
        task.backup_type = kind

    def warned(self, backup: str, warnings: list[str]) -> None:
        if warnings:
            self._change(backup, warnings=_json([text[:2000] for text in warnings[:100]]))

    def stored(self, backup: str, stored: int, parent: str | None) -> None:
        query = sa.select(tables.destination.c.settings).join(
            tables.backup, tables.backup.c.destination == tables.destination.c.guid
        )
        text = self._sql.scalar(query.where(tables.backup.c.guid == backup))
        lock = retention.of(msgspec.json.decode(text or "{}")).lock_ms
        values: dict[str, Any] = {"keep_until": self.now + lock} if lock else {}
        values |= {"stored": stored, "parent": parent, "stored_time": self.now}
        self._change(backup, status="SUCCESS", **values)
        found = catalogue.one(self._sql, tables.backup, Backup, backup, "backup")
        recall(self._sql, found.entity)  # what portals ask of each machine's last backup

    def backup_partial(self, backup: str, reason: str) -> None:
        self._change(backup, status="PARTIAL_SUCCESS", status_info=reason)

    def backup_failed(self, backup: str, reason: str) -> None:
        states = (*NOT_DECIDED, "PARTIAL_SUCCESS")
        self._change(backup, states, status="FAILED", status_info=reason)

    def timed(self, task: Task) -> None:
        backup = task.ref("backup")
        if backup is None or task.started is None:
            return
        table = tables.backup
        text = self._sql.scalar(sa.select(table.c.times).where(table.c.guid == backup))
        times = _with_times(text, task)
        self._sql.execute(sa.update(table).where(table.c.guid == backup).values(times=times))

    def _change(self, backup: str, states: tuple[str, ...] = NOT_DECIDED, **values: Any) -> None:
        # A stored backup stays what it is, whatever a late task says.
        where = (tables.backup.c.guid == backup, tables.backup.c.status.in_(states))
        self._sql.execute(sa.update(tables.backup).where(*where).values(**values))

    def consistent(self, backup: str, how: str | None) -> None:
        self._change(backup, consistency=how)

    def verified(self, backup: str) -> None:
        table = tables.backup.c
        where = (table.guid == backup, table.level == "STORED", table.status == "SUCCESS")
        self._sql.execute(sa.update(tables.backup).where(*where).values(level="VERIFIED"))

    def proved(self, backup: str, evidence: dict[str, Any], task: Any) -> None:
        assert self._sign
        where = (tables.backup.c.guid == backup, tables.backup.c.status == "SUCCESS")
        raised = sa.update(tables.backup).where(*where).values(level="BOOTED")
        if self._sql.execute(raised).rowcount != 1:
            return  # decided to go meanwhile: there is nothing to prove any more
        whole = {**evidence, "backup": backup, "time": self.now, "task": task.guid}
        text = _json(whole | {"node": task.node, "hypervisor": task.ref("hypervisor")})
        # What is kept with the backup need not lie in every list of tasks.
        slim = _json({k: v for k, v in task.results.items() if k != "evidence"})
        here = tables.task.c.guid == task.guid
        self._sql.execute(sa.update(tables.task).where(here).values(results=slim))
        self._sql.execute(sa.delete(tables.proof).where(tables.proof.c.backup == backup))
        values = {"evidence": text, "signature": self._sign(text.encode())}
        self._sql.execute(sa.insert(tables.proof).values(backup=backup, time=self.now, **values))

    def promote(self, base: IncrementBase) -> None:
        table = tables.backup.c
        whole = sa.select(table.guid).where(
            table.guid == base.backup, table.status == "SUCCESS", table.location_status == "PRESENT"
        )
        if self._sql.scalar(whole) is None:
            return  # decided otherwise before, or damaged: never a base
        keys = (
            tables.base.c.entity == base.entity,
            tables.base.c.destination == base.destination,
        )
        self._sql.execute(sa.delete(tables.base).where(*keys))
        self._sql.execute(sa.insert(tables.base).values(msgspec.structs.asdict(base)))

    def initialised(self, destination: str, repository: str) -> None:
        where = tables.destination.c.guid == destination
        self._sql.execute(sa.update(tables.destination).where(where).values(repository=repository))

    def space(self, destination: str, total: int | None, free: int | None) -> None:
        if total is None or free is None:
            return
        where = tables.destination.c.guid == destination
        values = {"total_space": total, "used_space": max(0, total - free)}
        self._sql.execute(sa.update(tables.destination).where(where).values(**values))

    def remove(self, backups: Iterable[str], why: str) -> None:
        for guid in (going := list(backups)):
            found = catalogue.one(self._sql, tables.backup, Backup, guid, "backup")
            states = ("SUCCESS", "PARTIAL_SUCCESS")
            self._change(guid, states, status=REMOVED, status_info=why)
            recall(self._sql, found.entity)
            # An increment must not build on what may vanish at any moment.
            self._sql.execute(sa.delete(tables.base).where(tables.base.c.backup == guid))
        self.unalarmed(going)

    def gone(self, backups: Iterable[str]) -> None:
        table = tables.backup.c
        for guid in backups:
            decided = (table.guid == guid, table.status.in_((REMOVED, "FAILED")))
            went = sa.update(tables.backup).where(*decided).values(gone=True)
            self.unalarmed(self._sql.scalars(went.returning(table.guid)))

    def forget_entity(self, entity: str) -> None:
        """Only once nothing of it is left anywhere, and nobody works on it."""
        backup, task = tables.backup.c, tables.task.c
        left = sa.select(backup.guid).where(backup.entity == entity, ~backup.gone)
        live = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")
        busy = sa.select(task.guid).where(live, task.entity == entity)
        if any(self._sql.scalar(query.limit(1)) for query in (left, busy)):
            return
        self.void_bases(entity)
        self._sql.execute(sa.delete(tables.snapshot).where(tables.snapshot.c.entity == entity))
        of_entity = sa.select(backup.guid).where(backup.entity == entity)
        subjects = [entity, *self._sql.scalars(of_entity)]
        self._forget_mounts(entity)
        self._sql.execute(sa.delete(tables.proof).where(tables.proof.c.backup.in_(of_entity)))
        self._sql.execute(sa.delete(tables.backup).where(backup.entity == entity))
        here = sa.delete(tables.entity).where(tables.entity.c.guid == entity)
        for host in self._sql.scalars(here.returning(tables.entity.c.hypervisor)).all():
            self.settle_doubt(host)
        self.unalarmed(subjects)

    def _forget_mounts(self, entity: str) -> None:
        mount, volume = mount_tables.mounted_backup, mount_tables.mounted_volume
        ours = sa.select(mount.c.guid).where(mount.c.entity == entity)
        self._sql.execute(sa.delete(volume).where(volume.c.mount.in_(ours)))
        self._sql.execute(sa.delete(mount).where(mount.c.entity == entity))

    def save_hypervisor(self, record: Hypervisor) -> None:
        taken = set(self._sql.scalars(sa.select(tables.hypervisor.c.name)))
        name, number = record.name, 1
        while name in taken:  # somebody was faster; what was seen is worth keeping all the same
            number += 1
            name = f"{record.name} ({number})"
        named = msgspec.structs.replace(record, name=name)
        catalogue.add(self._sql, tables.hypervisor, named)
        managers.surround(self._sql, named, self.now)

    def restore_moved(self, job: str, status: str, info: str | None, task: Task) -> None:
        table = tables.restore_job
        found = self._sql.execute(sa.select(table).where(table.c.guid == job)).one_or_none()
        if found is None or found.status not in NOT_DECIDED:
            return
        over = status not in NOT_DECIDED
        values = {"status": status, "status_info": info, "finished": self.now if over else None}
        times = _with_times(found.times, task)
        where = table.c.guid == job
        self._sql.execute(sa.update(table).where(where).values(**values, times=times))

    def moved(self, entity: str, project: str | None) -> None:
        """An entity belongs to another project, and with it all that was done with it."""
        for table in (
            tables.backup,
            tables.restore_job,
            tables.snapshot,
            mount_tables.mounted_backup,
            tables.task,
        ):
            self._sql.execute(
                sa.update(table).where(table.c.entity == entity).values(project=project)
            )
        alarms.moved(self._sql, entity, project)


def _with_times(text: str | None, task: Task) -> str:
    """How long a task waited and ran, beside what is known already."""
    times: dict[str, int] = msgspec.json.decode(text or "{}")
    if task.started is not None:
        times[_QUEUED[task.type]] = max(0, task.started - max(task.created, task.window_start))
        if task.finished is not None:
            times[_RAN[task.type]] = max(0, task.finished - task.started)
    return _json(times)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
