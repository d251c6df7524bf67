"""Stored backups as input of retention, retention terms, and the pending work of retention.

Backups are read only from the index `backup_judged`, because the rows themselves are wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.inventory.records import Record
from haulback.policy.retention import BackupSource, StoredBackup
from haulback.server.store import mount_tables, tables
from haulback.server.store.raw_sql import Statement
from haulback.server.store.retention_tables import (
    retention_due,
    retention_state,
    retention_terms,
    retention_wait,
)
from haulback.server.store.rows import records

_MANY = 500  # guids in one statement
_SELECT = f"SELECT {', '.join(tables.JUDGED)} FROM backup WHERE status = 'SUCCESS' "
_TO_END = Statement(_SELECT + "AND destination = :destination AND entity > :after")
_TO_LAST = Statement(
    _SELECT + "AND destination = :destination AND entity > :after AND entity <= :last"
)
_LAST = Statement(
    "SELECT entity FROM backup WHERE status = 'SUCCESS' AND destination = :destination "
    "AND entity > :after ORDER BY entity LIMIT 1 OFFSET :rows"
)
_LIVE = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")
_BUSY = (
    "EXPORT",
    "STORE",
    "RESTORE",
    "IMPORT",
    "MOUNT",
    "PROVE",
    "SNAPSHOT",
    "SNAPSHOT_REVERSION",
    "BACKUP_DESTINATION_SYNC",
)


def last_entity(sql: sa.Connection, destination: str, after: str, rows: int) -> str | None:
    """The last machine of the piece after the machine `after`, such that the piece has about `rows`
    backups.

    None: fewer backups are left.
    """
    found = _LAST.row(sql, destination=destination, after=after, rows=rows)
    return str(found[0]) if found else None


def page(sql: sa.Connection, destination: str, after: str, last: str | None) -> list[StoredBackup]:
    """All backups of the machines with guids greater than `after`, up to `last`; None: to the
    end.
    """
    if last is None:
        rows = _TO_END.rows(sql, destination=destination, after=after)
    else:
        rows = _TO_LAST.rows(sql, destination=destination, after=after, last=last)
    return [StoredBackup(*row) for row in rows]


def of_entities(
    sql: sa.Connection, destination: str, entities: Iterable[str]
) -> list[StoredBackup]:
    """The stored backups of machines on a destination."""
    backup = tables.backup.c
    query = sa.select(*(backup[name] for name in tables.JUDGED)).where(
        sa.text("status = 'SUCCESS'"), backup.destination == destination
    )
    return [
        StoredBackup(*row)
        for part in _parts(entities)
        for row in sql.execute(query.where(backup.entity.in_(part)))
    ]


def places_of_rule(sql: sa.Connection, rule: str) -> list[tuple[str, str]]:
    """The destinations and machines that have stored backups of a rule, in order."""
    backup = tables.backup.c
    query = sa.select(backup.destination, backup.entity).distinct()
    query = query.where(sa.text("status = 'SUCCESS' AND rule IS NOT NULL"), backup.rule == rule)
    rows = sql.execute(query.order_by(backup.destination, backup.entity))
    return [(row[0], row[1]) for row in rows]


def sources(
    sql: sa.Connection, entities: Iterable[str], spared_days: int
) -> dict[str, BackupSource]:
    """The presence of machines, by guid."""
    entity = tables.entity.c
    query = sa.select(entity.guid, entity.present, entity.absent_since)
    return {
        row[0]: BackupSource(bool(row[1]), row[2], spared_days)
        for part in _parts(entities)
        for row in sql.execute(query.where(entity.guid.in_(part)))
    }


def in_use(sql: sa.Connection, entities: Iterable[str]) -> set[str]:
    """The backups of machines that are mounted, read by a task, or the base of a running export."""
    used: set[str] = set()
    task, base = tables.task.c, tables.base.c
    mount = mount_tables.mounted_backup.c
    for part in _parts(entities):
        busy = sa.select(task.entity, task.backup).where(
            _LIVE, task.entity.in_(part), task.type.in_(_BUSY)
        )
        read = {(row[0], row[1]) for row in sql.execute(busy) if row[1]}
        used |= {backup for _, backup in read}
        writing = {entity for entity, _ in read}
        if writing:
            used |= set(sql.scalars(sa.select(base.backup).where(base.entity.in_(writing))))
        shown = sa.select(mount.backup).where(
            mount.entity.in_(part), mount.state.in_(("QUEUED", "MOUNTED"))
        )
        used |= set(sql.scalars(shown))
    return used


def locked(sql: sa.Connection, backups: Iterable[str]) -> dict[str, tuple[str, int | None]]:
    """Hint and end (epoch ms) of the mark of stored backups, locked against other transactions.

    PostgreSQL locks the rows in the order of their guids, like a request that marks backups.
    """
    backup = tables.backup.c
    query = sa.select(backup.guid, backup.hint, backup.keep_until).where(
        sa.text("status = 'SUCCESS'")
    )
    query = query.order_by(backup.guid).with_for_update()
    return {
        row[0]: (row[1], row[2])
        for part in _parts(backups)
        for row in sql.execute(query.where(backup.guid.in_(part)))
    }


def rules(sql: sa.Connection, guids: Iterable[str]) -> dict[str, Record]:
    """Rules with these guids that exist."""
    record = tables.record
    query = sa.select(record).where(record.c.kind == "rule")
    return {
        rule.guid: rule
        for part in _parts(guids)
        for rule in records(sql, query.where(record.c.guid.in_(part)), Record)
    }


def terms_of(sql: sa.Connection, keys: Iterable[str]) -> dict[str, str]:
    """The JSON texts of retention terms, by key."""
    table = retention_terms.c
    query = sa.select(table.key, table.body)
    return {
        row[0]: row[1]
        for part in _parts(keys)
        for row in sql.execute(query.where(table.key.in_(part)))
    }


def keep_terms(sql: sa.Connection, key: str, body: str) -> None:
    """Store retention terms under their key, once."""
    _insert(sql, retention_terms, {"key": key, "body": body})


def waiting(sql: sa.Connection, rules: Iterable[str] | None = None) -> dict[str, int | None]:
    """Rules and destinations whose retention waits for a confirmation, by guid.

    The values are the times of their alarms in epoch ms, None before an alarm.
    """
    table = retention_wait.c
    query = sa.select(table.rule, table.told)
    if rules is not None:
        query = query.where(table.rule.in_(list(rules)))
    return {row[0]: row[1] for row in sql.execute(query)}


def mark_alarmed(sql: sa.Connection, rule: str, now: int) -> bool:
    """Record that the alarm of a waiting rule was raised; False if it was raised before."""
    table = retention_wait
    where = (table.c.rule == rule, table.c.told.is_(None))
    return bool(sql.execute(sa.update(table).where(*where).values(told=now)).rowcount)


def confirm(sql: sa.Connection, rules: Iterable[str]) -> list[str]:
    """End the wait of rules; returns the rules that waited."""
    table = retention_wait
    return [
        str(guid)
        for part in _parts(rules)
        for guid in sql.scalars(
            sa.delete(table).where(table.c.rule.in_(part)).returning(table.c.rule)
        )
    ]


def add_due(sql: sa.Connection, place: Mapping[str, str], now: int) -> None:
    """Record that a backup of a rule was stored: `place` has destination, entity and rule."""
    _insert(sql, retention_due, {**place, "since": now})


def take_due(sql: sa.Connection, most: int) -> list[tuple[str, str, str]]:
    """Remove and return up to `most` such records, as destination, entity and rule."""
    table = retention_due.c
    columns = (table.destination, table.entity, table.rule)
    first = sql.scalar(sa.select(table.destination).limit(1))
    if first is None:
        return []
    query = sa.select(*columns).where(table.destination == first).limit(most)
    rows = [tuple(row) for row in sql.execute(query.with_for_update(skip_locked=True))]
    for _, entity, rule in rows:
        same = (table.destination == first, table.entity == entity, table.rule == rule)
        sql.execute(sa.delete(retention_due).where(*same))
    return [(str(row[0]), str(row[1]), str(row[2])) for row in rows]


def has_due(sql: sa.Connection) -> bool:
    """Whether any such record waits for its decision."""
    return sql.scalar(sa.select(retention_due.c.destination).limit(1)) is not None


class RetentionState(NamedTuple):
    """Retention state of a destination; times in epoch ms: see `retention_tables`."""

    planned: int = 0
    reclaim_at: int | None = None
    reclaim_since: int | None = None


def states(sql: sa.Connection) -> dict[str, RetentionState]:
    """Retention state by destination; a destination without a row has no state yet."""
    table = retention_state.c
    query = sa.select(table.destination, table.planned, table.reclaim_at, table.reclaim_since)
    return {row[0]: RetentionState(*row[1:]) for row in sql.execute(query)}


def set_state(sql: sa.Connection, destination: str, **values: object) -> None:
    """Write members of a destination's retention state."""
    _insert(sql, retention_state, {"destination": destination, "planned": 0})
    where = retention_state.c.destination == destination
    sql.execute(sa.update(retention_state).where(where).values(**values))


def _insert(sql: sa.Connection, table: sa.Table, values: Mapping[str, object]) -> None:
    """Insert a row unless its key exists."""
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    sql.execute(insert(table).values(values).on_conflict_do_nothing())


def _parts(guids: Iterable[str]) -> Iterator[Sequence[str]]:
    every = sorted(set(guids))
    for at in range(0, len(every), _MANY):
        yield every[at : at + _MANY]


def names(sql: sa.Connection, entities: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Names and projects of machines by guid."""
    entity = tables.entity.c
    query = sa.select(entity.guid, entity.name, entity.project)
    return {
        row[0]: (row[1], row[2])
        for part in _parts(entities)
        for row in sql.execute(query.where(entity.guid.in_(part)))
    }
