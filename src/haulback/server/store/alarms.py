"""Alarms in the database, raised and cleared in the transaction that knows the cause."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.contract.alarms import AlarmKind
from haulback.contract.events import Event, EventKind
from haulback.errors import NotFound
from haulback.ids import new_guid
from haulback.inventory.alarms import Alarm
from haulback.inventory.records import REMOVED
from haulback.logs import members
from haulback.server.scope import Scope
from haulback.server.store import audit, events, tables
from haulback.server.store.alarm_tables import alarm as table
from haulback.server.store.rows import records, row_of
from haulback.wire import JsonObject, Named

log = logging.getLogger(__name__)
_TEXT, _NAME = 2000, 400  # maximum length of a stored text, in characters
_MANY = 500  # guids in one statement
_SYSTEM = ("00000000-0000-0000-0000-000000000000", "system")


class AlarmLedger:
    """`inventory.ledger.AlarmChanges` on a connection, at the server time `now`."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now

    def report(self, kind: AlarmKind, subject: Named, text: str, details: JsonObject) -> None:
        result = _subject(self._sql, subject.guid)
        if result is None:
            return
        sort, project = result
        about = (table.c.kind == kind.value, table.c.subject == subject.guid)
        same = sa.select(table.c.guid).where(*about)
        is_new = self._sql.scalar(same) is None
        raised = Alarm(
            guid=new_guid(),
            kind=kind.value,
            subject=subject.guid,
            subject_name=plain(subject.name, _NAME),
            subject_type=sort,
            since=self._now,
            seen=self._now,
            text=plain(text, _TEXT),
            details=details,
            project=project,
        )
        _upsert(self._sql, raised)
        if is_new:
            log.info("alarm raised", extra=_about(raised, text=raised.text))
            operation = f"alarm {raised.kind}"
            line = (raised.subject, None, raised)
            audit.write(self._sql, self._now, _SYSTEM, operation, line)
            events.add(self._sql, _event(EventKind.ALARM_RAISED, raised, self._now))

    def clear(self, kind: AlarmKind, subject: str) -> None:
        self.clear_many(kind, [subject])

    def clear_many(self, kind: AlarmKind, subjects: Iterable[str]) -> None:
        """End the alarms of one kind about many subjects, by their guids."""
        for about in _parts(subjects):
            _clear(self._sql, self._now, sa.and_(table.c.kind == kind.value, about))

    def clear_all(self, subjects: Iterable[str]) -> None:
        """Clear all alarms about deleted subjects, by their guids.

        Call it after the rows of the subjects are removed or changed, because that change waits for
        transactions that raise an alarm about them.
        """
        for about in _parts(subjects):
            _clear(self._sql, self._now, about)


def alarm(sql: sa.Connection, guid: str, scope: Scope) -> Alarm:
    """An alarm by its guid.  Raises NotFound, also for an alarm outside the caller's projects."""
    for found in records(sql, sa.select(table).where(table.c.guid == guid), Alarm):
        if scope.allows(found.project):
            return found
    raise NotFound(f"there is no alarm {guid}; it may have been cleared", guid=guid)


def seen(sql: sa.Connection, kind: AlarmKind, subject: str) -> int | None:
    """The time (epoch ms) at which an alarm was last reported, or None."""
    where = (table.c.kind == kind.value, table.c.subject == subject)
    found: int | None = sql.scalar(sa.select(table.c.seen).where(*where))
    return found


def subjects(sql: sa.Connection, kind: AlarmKind) -> set[str]:
    """The subjects of the alarms of a kind."""
    return set(sql.scalars(sa.select(table.c.subject).where(table.c.kind == kind.value)))


def moved(sql: sa.Connection, entity: str, project: str | None) -> None:
    """Move the alarms about a machine and its backups to the machine's new project."""
    of_it = sa.select(tables.backup.c.guid).where(tables.backup.c.entity == entity)
    about = sa.or_(table.c.subject == entity, table.c.subject.in_(of_it))
    sql.execute(sa.update(table).where(about).values(project=project))


def renamed(sql: sa.Connection, subject: Named) -> None:
    """Set the new name of a subject in the alarms about it."""
    where = table.c.subject == subject.guid
    sql.execute(sa.update(table).where(where).values(subject_name=plain(subject.name, _NAME)))


def _parts(subjects: Iterable[str]) -> Iterator[sa.ColumnElement[bool]]:
    guids = list(subjects)
    for at in range(0, len(guids), _MANY):
        yield table.c.subject.in_(guids[at : at + _MANY])


def _subject(sql: sa.Connection, guid: str) -> tuple[str, str | None] | None:
    """Type and project of an alarm's subject, None if the subject was removed.

    The row is locked against removal, because an alarm whose subject is removed would never be
    cleared. The removal of a backup changes its row.
    """
    entity, backup, none = tables.entity, tables.backup, sa.null().label("project")
    stays = (backup.c.status != REMOVED, ~backup.c.gone)
    places = (("HYPERVISOR", tables.hypervisor), ("BACKUP_DESTINATION", tables.destination))
    of_backup = sa.select(sa.literal("BACKUP"), backup.c.project)
    record = tables.record
    of_rule = sa.select(sa.literal("RULE"), record.c.project)
    for query, is_changed in (
        (sa.select(entity.c.type, entity.c.project).where(entity.c.guid == guid), False),
        (of_backup.where(backup.c.guid == guid, *stays), True),
        (of_rule.where(record.c.guid == guid, record.c.kind == "rule"), False),
        *((sa.select(sa.literal(s), none).where(t.c.guid == guid), False) for s, t in places),
    ):
        locked = query.with_for_update(read=not is_changed, key_share=True)
        row = sql.execute(locked).one_or_none()
        if row is not None:
            return str(row[0]), row[1]
    return None


def _upsert(sql: sa.Connection, raised: Alarm) -> None:
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    new = insert(table).values(row_of(raised, table))
    fresh = {name: new.excluded[name] for name in ("seen", "text", "details", "project")}
    fresh["subject_name"] = new.excluded.subject_name
    sql.execute(new.on_conflict_do_update(index_elements=["kind", "subject"], set_=fresh))


def _clear(sql: sa.Connection, now: int, which: sa.ColumnElement[bool]) -> None:
    gone = sa.delete(table).where(which).returning(table)
    for one in records(sql, gone, Alarm):
        log.info("alarm ended", extra=_about(one))
        audit.write(sql, now, _SYSTEM, f"clear alarm {one.kind}", (one.subject, one, None))
        events.add(sql, _event(EventKind.ALARM_CLEARED, one, now))


def _about(alarm: Alarm, **more: str) -> dict[str, object]:
    """The members of a log line about an alarm."""
    return members(kind=str(alarm.kind), subject=alarm.subject_name, **more)


def _event(kind: EventKind, about: Alarm, now: int) -> Event:
    """The event of an alarm that was raised or cleared."""
    words = about.kind.replace("_", " ").lower()
    state = about.text if kind is EventKind.ALARM_RAISED else "the alarm has ended"
    return Event(
        kind=kind,
        time=now,
        subject=about.subject,
        subject_name=about.subject_name,
        project=about.project,
        text=f"{words}: {about.subject_name}: {state}",
        data={"alarm": about.kind, "subjectType": about.subject_type, "since": about.since},
    )


def plain(text: str, most: int) -> str:
    """The printable characters of a text: platforms and nodes may send control characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:most]
