"""Changes of damage records, in the transaction that ends the task which found the damage."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.damage import BackupDamage, DamageReport, LocationStatus, reports_of
from haulback.contract.destinations import VerifyState
from haulback.contract.task_states import State
from haulback.contract.verify import UnknownBackup
from haulback.errors import Malformed
from haulback.inventory.records import Backup
from haulback.logs import members
from haulback.server.store import copy_links, hold, tables
from haulback.server.store.alarms import AlarmLedger
from haulback.server.store.damage_reports import DamageFinder, Reported, finder_of, set_location
from haulback.server.store.rows import records
from haulback.tasks.record import HOUR_MS, Task
from haulback.units import size
from haulback.wire import JsonObject, Named

_EXPECTED = ["task", "entity", "backup"]  # columns of the list of a task
_HEAL_AGAIN_MS = 6 * HOUR_MS  # pause after an attempt that left damage
# Wait between a healing and an attempt with the next source: a node with wrong reports must not
# copy without end.
_HEAL_NEXT_MS = HOUR_MS // 6
_BACKUP = tables.backup.c
log = logging.getLogger(__name__)


class DamageLedger:
    """`inventory.ledger.DamageChanges` on a connection, at the server time `now`."""

    def __init__(self, sql: sa.Connection, now: int, alarms: AlarmLedger) -> None:
        self.sql, self.now, self._alarms = sql, now, alarms

    def expect(self, task: str, destination: str, *, forgotten: bool = True) -> None:
        """Store the list of backups of a destination that a task must find.

        Without `forgotten`, the list leaves out missing backups that a user has given up.
        """
        backup, expected = tables.backup.c, tables.expected_backup
        self.sql.execute(sa.delete(expected).where(expected.c.task == task))
        wanted = sa.select(sa.literal(task), backup.entity, backup.guid).where(
            sa.text("status = 'SUCCESS'"), backup.destination == destination
        )
        if not forgotten:
            wanted = wanted.where(backup.location_status != LocationStatus.GIVEN_UP.value)
        wanted = wanted.order_by(backup.entity, backup.guid)
        self.sql.execute(sa.insert(expected).from_select(_EXPECTED, wanted))

    def expect_machines(self, task: str, destination: str, after: str, last: str | None) -> None:
        """Add the backups of some machines to the list that a clean-up must find.

        The machines have guids greater than `after`, up to `last`; None: all greater than `after`.
        """
        expected = tables.expected_backup
        if not after:
            self.sql.execute(sa.delete(expected).where(expected.c.task == task))
        backup = tables.backup.c
        wanted = sa.select(sa.literal(task), backup.entity, backup.guid).where(
            sa.text("status = 'SUCCESS'"),
            backup.destination == destination,
            backup.entity > after,
            backup.location_status != LocationStatus.GIVEN_UP.value,
        )
        if last is not None:
            wanted = wanted.where(backup.entity <= last)
        wanted = wanted.order_by(backup.entity, backup.guid)
        self.sql.execute(sa.insert(expected).from_select(_EXPECTED, wanted))

    def expected_over(self, task: str) -> None:
        """Delete the set of backups that an ended task had to find."""
        expected = tables.expected_backup
        self.sql.execute(sa.delete(expected).where(expected.c.task == task))

    def reported(self, task: Task, state: State) -> None:
        """Record the damage report of a task, whatever the final state of the task.

        Raises Malformed for an unreadable report if the task is to become FINISHED.
        """
        if "damage" not in task.results:
            return
        try:
            reports = reports_of(task.results["damage"])
        except msgspec.ValidationError as error:
            if state is State.FINISHED:
                raise Malformed(f"transfer-info of {task.type}: damage: {error}") from None
            about = members(task=task.guid, attempt=task.attempt, reason=error)
            log.warning("the report of damage cannot be read", extra=about)
            return
        self.found(finder_of(self.sql, task), reports)

    def found(self, finder: DamageFinder, reports: Sequence[DamageReport]) -> None:
        """Record the damage that a finder reports of destinations that it has read."""
        # All finders lock in one order: two of them must not wait for each other.
        for report in sorted(reports, key=lambda report: report.destination):
            Reported(self.sql, self.now, finder, report).apply()

    def verified_share(
        self, destination: str, cursor: str, *, since: int, is_round: bool, looked: str = ""
    ) -> None:
        """Record how far a destination is verified: up to the pack `cursor`, or to the last pack.

        `looked` is the last backup whose map was read; "" if all maps were read.
        """
        before = verify_state(self.sql, destination)
        begun = before.begun if before.cursor and before.begun else since
        values: JsonObject = {"cursor": "" if is_round else cursor, "begun": begun}
        values |= {"ran": self.now, "looked": looked}
        if is_round:
            values["completed"] = self.now
            self._read_back(destination, begun)
        save_verify_state(self.sql, destination, msgspec.structs.replace(before, **values))

    def compared(
        self, destination: str, unknown: int, first: Sequence[UnknownBackup], *, since: int
    ) -> None:
        """Record the backups that the catalogue does not know, also for the hold of the server."""
        state = msgspec.structs.replace(verify_state(self.sql, destination), unknown=unknown)
        save_verify_state(self.sql, destination, state)
        look = hold.ComparisonResult(self.now, unknown, first)
        hold.looked(self.sql, destination, look, since=since)

    def catalogue_read(self, destination: str, extract_time: int, *, since: int) -> None:
        """Record that the catalogue knows all backups of a destination, also for the hold."""
        state = verify_state(self.sql, destination)
        read = {"catalogueRead": self.now, "extractTime": extract_time}
        save_verify_state(self.sql, destination, msgspec.structs.replace(state, **read))
        self.compared(destination, 0, (), since=since)

    def verify_ended(self, destination: str) -> None:
        """Record that a VERIFY reported damage and failed, so that this damage plans no other
        VERIFY.
        """
        state = msgspec.structs.replace(verify_state(self.sql, destination), ran=self.now)
        save_verify_state(self.sql, destination, state)

    def _read_back(self, destination: str, begun: int) -> None:
        """Set the level of backups that were stored before a complete round began to VERIFIED."""
        table = tables.backup.c
        where = (
            table.destination == destination,
            table.stored_time < begun,
            table.level == "STORED",
            table.status == "SUCCESS",
            table.location_status == "PRESENT",
        )
        self.sql.execute(sa.update(tables.backup).where(*where).values(level="VERIFIED"))

    def cleanup_blocked(self, task: Task, why: str) -> None:
        """Raise an alarm that a clean-up deleted nothing, with the bytes that wait for deletion."""
        destination = task.ref("backupDestination") or ""
        backup = tables.backup.c
        going = sa.text("status IN ('SUCCESS_REMOVED', 'FAILED') AND NOT gone")
        waiting = sa.select(sa.func.coalesce(sa.func.sum(backup.stored), 0))
        held = int(self.sql.scalar(waiting.where(going, backup.destination == destination)) or 0)
        text = f"the clean-up deleted nothing; data to delete: {size(held)}; reason: {why}"
        subject = task.refs.get("backupDestination") or Named(destination, "")
        details = {"bytesWaiting": held, "task": task.guid}
        self._alarms.report(AlarmKind.CLEANUP_BLOCKED, subject, text, details)

    def found_again(self, task: Task) -> None:
        """Set missing backups to present, because a clean-up found all expected backups."""
        table, expected = tables.backup.c, tables.expected_backup.c
        query = (
            sa.select(tables.backup)
            .join(
                tables.expected_backup,
                sa.and_(expected.entity == table.entity, expected.backup == table.guid),
            )
            .where(
                expected.task == task.guid, table.location_status == LocationStatus.MISSING.value
            )
        )
        report = DamageReport(task.ref("backupDestination") or "")
        reported = Reported(self.sql, self.now, finder_of(self.sql, task), report)
        for backup in records(self.sql, query, Backup):
            reported.clear(backup)
        self._alarms.clear(AlarmKind.CLEANUP_BLOCKED, report.destination)

    def healed(self, task: Task, backup: str, *, is_whole: bool) -> None:
        """Record an attempt to heal a location, and whether the location has all data now."""
        table = tables.backup
        query = sa.select(table).where(table.c.guid == backup, table.c.status == "SUCCESS")
        for location in records(self.sql, query.with_for_update(), Backup):
            if is_whole:
                report = DamageReport(location.destination)
                finder = finder_of(self.sql, task)
                Reported(self.sql, self.now, finder, report).clear(location)
                self._heal_from(location)
            is_soon = is_whole or copy_links.has_other_source(self.sql, location, self.now)
            after = self.now + (_HEAL_NEXT_MS if is_soon else _HEAL_AGAIN_MS)
            here = sa.update(table).where(table.c.guid == backup)
            self.sql.execute(here.values(heal_after=after))

    def _heal_from(self, sound: Backup) -> None:
        """Let the other locations of a backup be healed now, from one that is sound again."""
        same = sa.or_(_BACKUP.guid == sound.first, _BACKUP.copy_of == sound.first)
        here = sa.update(tables.backup).where(same, _BACKUP.heal_after > self.now)
        self.sql.execute(here.values(heal_after=self.now))

    def lost_for_good(self, backups: Iterable[str]) -> None:
        """Record backups as lost that a clean-up no longer expects after a confirmation."""
        table = tables.backup.c
        for guid in backups:
            where = (table.guid == guid, table.location_status == LocationStatus.GIVEN_UP.value)
            values = {"status": "SUCCESS_REMOVED", "gone": True}
            info = "lost, as a user has confirmed"
            self.sql.execute(
                sa.update(tables.backup).where(*where).values(**values, status_info=info)
            )
            self._alarms.clear(AlarmKind.BACKUP_MISSING, guid)

    def give_up(self, backup: Backup, who: str) -> None:
        """Record that a user confirmed the loss of a missing backup."""
        damage = msgspec.convert(backup.damage, BackupDamage)
        confirmed = msgspec.structs.replace(damage, confirmed=self.now, confirmedBy=who)
        self.set_location(backup, LocationStatus.GIVEN_UP, confirmed)
        self._alarms.clear(AlarmKind.BACKUP_MISSING, backup.guid)
        self._alarms.clear(AlarmKind.BACKUP_DAMAGED, backup.guid)

    def set_location(
        self, backup: Backup, status: LocationStatus, damage: BackupDamage | None
    ) -> None:
        """Write the state of a stored backup; a damaged or missing backup is no longer a base."""
        set_location(self.sql, self.now, backup, status, damage)


def expected_backups(sql: sa.Connection, task: str, after: str, size: int) -> list[str]:
    """A page of the backups that a task must find, after the last backup of the previous page.

    Backups whose removal was decided since are left out, because another task may have deleted
    their data.
    """
    table, backup = tables.expected_backup.c, tables.backup.c
    joined = tables.expected_backup.join(tables.backup, backup.guid == table.backup)
    query = sa.select(table.backup).select_from(joined)
    query = query.where(table.task == task, backup.status == "SUCCESS")
    if after:
        same = sa.select(table.entity).where(table.task == task, table.backup == after)
        last = sql.scalar(sa.select(backup.entity).where(backup.guid == after))
        place = sa.tuple_(sa.literal(last or sql.scalar(same) or ""), sa.literal(after))
        query = query.where(sa.tuple_(table.entity, table.backup) > place)
    return list(sql.scalars(query.order_by(table.entity, table.backup).limit(size)))


def verify_state(sql: sa.Connection, destination: str) -> VerifyState:
    """The verification state of a destination; its row is locked until the transaction ends."""
    query = sa.select(tables.destination.c.verify_state)
    where = tables.destination.c.guid == destination
    text = sql.scalar(query.where(where).with_for_update())
    return msgspec.json.decode(text or "{}", type=VerifyState)


def save_verify_state(sql: sa.Connection, destination: str, state: VerifyState) -> None:
    """Write the verification state of a destination."""
    where = tables.destination.c.guid == destination
    text = msgspec.json.encode(state).decode()
    sql.execute(sa.update(tables.destination).where(where).values(verify_state=text))
