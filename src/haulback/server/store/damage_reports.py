"""A damage report of a node, applied to the records of backups and alarms."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.damage import BackupDamage, DamageReport, LocationStatus, Loss, LostDisk
from haulback.inventory.records import Backup
from haulback.logs import members
from haulback.server.store import copy_links, tables
from haulback.server.store.alarms import AlarmLedger
from haulback.server.store.last_backups import recall
from haulback.server.store.rows import records
from haulback.tasks.record import HOUR_MS, Task
from haulback.units import counted, size
from haulback.wire import Named

_ALARMS = 100  # alarms of one report about single backups; the destination's alarm has the total
_MANY = 500  # guids in one statement
_SOUND = "soundSince"  # epoch ms, in the facts about damage of a PRESENT backup
_CLEARS = ("VERIFY", "REPAIR")
# Types of tasks that look for every backup of a destination.
_COMPARES = (*_CLEARS, "BACKUP_CLEANUP", "DELETE")
# Without a source this task reads all manifests of its destination.
_SYNC = "BACKUP_DESTINATION_SYNC"
_BUILDS = ("EXPORT", "STORE")  # an increment reads the backup that it builds on
# A manifest younger than this may not be readable on every node yet: lists and names may lag.
_YOUNG_MS = HOUR_MS
log = logging.getLogger(__name__)


class DamageFinder(NamedTuple):
    """The finder of damage: its name in records and alarms, and the backups that it read.

    `read` maps each destination that the finder read to the guids of the backups there, None for
    all backups: a report can mark no other backup. `compares` is true if the task looked for every
    backup of a destination; `clears` is true if a complete report of the task clears the damage
    that was found before `since` (epoch ms).
    """

    by: str
    read: Mapping[str, Set[str] | None]
    compares: bool = False
    clears: bool = False
    since: int = 0


def finder_of(sql: sa.Connection, task: Task) -> DamageFinder:
    """The task as a finder of damage: the task reads its destination, its source, and its backups
    at each location.
    """
    named = {task.ref("backupDestination"), task.params.get("source")}
    backups = [task.ref("backup"), _base_of(sql, task), *task.params.get("copies", ())]
    read: dict[str, Set[str] | None] = {name: frozenset() for name in named if name}
    read |= locations(sql, *(backup for backup in backups if backup))
    clears, compares = task.type in _CLEARS, task.type in _COMPARES
    if compares or (task.type == _SYNC and "source" not in task.params):
        read[task.ref("backupDestination") or ""] = None
    return DamageFinder(f"{task.type} {task.guid}", read, compares, clears, task.started or 0)


def _base_of(sql: sa.Connection, task: Task) -> str | None:
    """The backup that an increment of the task's machine builds on."""
    if task.type not in _BUILDS:
        return None
    base = tables.base.c
    machine, to = task.ref("protectedEntity") or "", task.ref("backupDestination") or ""
    here = (base.entity == machine, base.destination == to)
    return sql.scalar(sa.select(base.backup).where(*here))


def locations(sql: sa.Connection, *backups: str) -> dict[str, Set[str]]:
    """The destinations of all locations of backups, with the guids of the locations there.

    Any guid of a backup names the backup.
    """
    table = tables.backup.c
    first = sa.select(sa.func.coalesce(table.copy_of, table.guid)).where(table.guid.in_(backups))
    guids = list(sql.scalars(first)) if backups else []
    same = sa.or_(table.guid.in_(guids), table.copy_of.in_(guids))
    rows = sql.execute(sa.select(table.destination, table.guid).where(same)) if guids else ()
    places: dict[str, set[str]] = {}
    for destination, guid in rows:
        places.setdefault(destination, set()).add(guid)
    return dict(places)


def set_location(
    sql: sa.Connection,
    now: int,
    backup: Backup,
    status: LocationStatus,
    damage: BackupDamage | None,
) -> None:
    """Write the state of a stored backup; a damaged or missing backup is no longer a base."""
    table = tables.backup
    # The time at which a location was sound again shows that a late report is outdated.
    facts = {_SOUND: now} if status is LocationStatus.PRESENT else damage or {}
    values = {"location_status": status.value, "damage": msgspec.json.encode(facts).decode()}
    sql.execute(sa.update(table).where(table.c.guid == backup.guid).values(**values))
    if status is not LocationStatus.PRESENT:
        # An increment must not build on this backup.
        sql.execute(sa.delete(tables.base).where(tables.base.c.backup == backup.guid))
    else:  # no link copied the backup in the meantime
        copy_links.look(sql, backup.guid, backup.destination, now)
    recall(sql, backup.entity)


class Reported:
    """A damage report of a finder, and the changes that it makes at the server's time `now`."""

    def __init__(
        self, sql: sa.Connection, now: int, finder: DamageFinder, report: DamageReport
    ) -> None:
        self._sql, self._now, self._finder, self._report = sql, now, finder, report
        self._alarms = AlarmLedger(sql, now)
        self._by = finder.by
        self._named = 0

    def apply(self) -> None:
        """Apply the report, unless its finder has not read the destination."""
        report = self._report
        if report.destination not in self._finder.read:
            return
        losses = {loss.backup: loss for loss in report.losses}
        for guid in report.unreadable:
            losses.setdefault(guid, Loss(guid, [], [f"manifests/{guid}"]))
        if not report.unreliable:
            self._damaged(losses)
            self._missing(set(report.missing))
            if report.complete and self._finder.clears:
                self._whole(losses.keys() | set(report.missing))
        self._repository()

    def _stored(self, guids: Iterable[str]) -> list[Backup]:
        table, wanted = tables.backup.c, sorted(guids)
        found: list[Backup] = []
        for at in range(0, len(wanted), _MANY):
            query = sa.select(tables.backup).where(table.guid.in_(wanted[at : at + _MANY]))
            # All tasks lock in one order: two tasks that end together must not wait for each other.
            query = query.order_by(table.guid).with_for_update()
            found += records(self._sql, query, Backup)
        return found

    def _damaged(self, losses: dict[str, Loss]) -> None:
        for backup in self._ours(losses):
            loss = losses[backup.guid]
            if backup.location_status == LocationStatus.GIVEN_UP.value and not loss.disks:
                continue  # a user has given the backup up, and its manifest is still missing
            if self._is_outdated(backup):
                continue
            damage = self._damage(backup, loss.disks, loss.objects)
            set_location(self._sql, self._now, backup, LocationStatus.DAMAGED, damage)
            disks = ", ".join(f"{d.name} lacks {size(d.bytes)}" for d in loss.disks)
            text = f"{disks or 'the manifest cannot be read'} ({'; '.join(loss.objects[:3])})"
            self._alarm(AlarmKind.BACKUP_DAMAGED, backup, text, damage)

    def _missing(self, guids: set[str]) -> None:
        for backup in self._ours(guids):
            if backup.location_status == LocationStatus.GIVEN_UP.value or self._is_young(backup):
                continue
            if self._is_outdated(backup):
                continue
            damage = self._damage(backup, [], [f"manifests/{backup.guid}"])
            set_location(self._sql, self._now, backup, LocationStatus.MISSING, damage)
            text = "the manifest is not in the repository; without it no clean-up deletes data"
            self._alarm(AlarmKind.BACKUP_MISSING, backup, text, damage)

    def _is_outdated(self, backup: Backup) -> bool:
        """Whether the location was sound again after the finding of this report."""
        return 0 < self._report.found < int(backup.damage.get(_SOUND, 0))

    def _is_young(self, backup: Backup) -> bool:
        """Whether a backup that a single reader did not find may only be too young to be listed."""
        stored = backup.stored_time or 0
        return not self._finder.compares and stored > self._now - _YOUNG_MS

    def _ours(self, guids: Iterable[str]) -> list[Backup]:
        """The stored backups of the reported destination that the finder has read."""
        here = self._report.destination
        read = self._finder.read[here]
        # A reader marks only its own backups: a wrong report of a node must not mark all others.
        found = self._stored(guids if read is None else read & set(guids))
        return [one for one in found if one.destination == here and one.status == "SUCCESS"]

    def _whole(self, named: set[str]) -> None:
        """Clear backups that a complete scan did not name as damaged."""
        table = tables.backup.c
        query = sa.select(tables.backup).where(
            sa.text("location_status <> 'PRESENT'"),
            table.destination == self._report.destination,
            table.status == "SUCCESS",
        )
        query = query.order_by(table.guid).with_for_update()
        for backup in records(self._sql, query, Backup):
            since = int(backup.damage.get("since", 0))
            if backup.guid not in named and since <= (self._finder.since):
                self.clear(backup)

    def clear(self, backup: Backup) -> None:
        """Record that a backup is sound again."""
        set_location(self._sql, self._now, backup, LocationStatus.PRESENT, None)
        self._alarms.clear(AlarmKind.BACKUP_DAMAGED, backup.guid)
        self._alarms.clear(AlarmKind.BACKUP_MISSING, backup.guid)
        log.info("backup is sound again", extra=members(backup=backup.guid, by=self._by))

    def _damage(self, backup: Backup, disks: list[LostDisk], objects: list[str]) -> BackupDamage:
        """The current damage of a backup, with the time of its first report."""
        before = backup.damage
        same = backup.location_status != LocationStatus.PRESENT.value and "since" in before
        since = int(before["since"]) if same else self._now
        by = str(before["foundBy"]) if same else self._by
        return BackupDamage(since=since, foundBy=by, disks=disks, objects=objects)

    def _alarm(self, kind: AlarmKind, backup: Backup, text: str, damage: BackupDamage) -> None:
        self._named += 1
        if self._named <= _ALARMS:
            details = msgspec.to_builtins(damage)
            self._alarms.report(kind, Named(backup.guid, backup.entity_name), text, details)

    def _repository(self) -> None:
        """Raise or clear the alarms about the destination itself."""
        report, alarms = self._report, self._alarms
        query = sa.select(tables.destination.c.name)
        where = tables.destination.c.guid == report.destination
        to = Named(report.destination, self._sql.scalar(query.where(where)) or "")
        if report.unreliable:
            alarms.report(AlarmKind.DESTINATION_UNRELIABLE, to, report.unreliable, {"by": self._by})
        elif report.complete and self._finder.clears:
            alarms.clear(AlarmKind.DESTINATION_UNRELIABLE, to.guid)
        wrong = [*report.objects, *report.findings]
        if wrong and not report.unreliable:
            text = f"{counted(len(wrong), 'damaged object')}: {'; '.join(wrong[:5])}"
            details = {"objects": wrong[:_ALARMS], "by": self._by}
            alarms.report(AlarmKind.REPOSITORY_DAMAGED, to, text, details)
        elif report.complete and self._finder.clears:
            alarms.clear(AlarmKind.REPOSITORY_DAMAGED, to.guid)
