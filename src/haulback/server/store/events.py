"""Events in the database, added in the transaction that makes the change.

An event has no number before its commit.  `number_some` numbers committed events in order, under
the lock of one row: a reader that saw number N never misses a smaller number, although PostgreSQL
may commit transactions in another order than that of their inserts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from haulback.contract.events import Event, EventRecord
from haulback.server.queries import EventQuery
from haulback.server.store.engine import EVENTS
from haulback.server.store.event_tables import event as table
from haulback.server.store.expressions import Condition, Row
from haulback.server.store.raw_sql import ManyRows, Statement
from haulback.wire import JsonObject, Named, label

MOST = 500  # events that one transaction numbers or deletes
_NAME, _TEXT = 400, 4000  # characters
# A rule is a record below its policy.
_VALUES = (
    "{0}number, {0}kind, {0}time, {0}subject, {0}subject_name, {0}project, "
    "COALESCE({0}policy, (SELECT parent FROM record WHERE guid = {0}rule)), {0}text, {0}data, "
    "{0}once"
)
_INTO = (
    "INSERT INTO event (number, kind, time, subject, subject_name, project, policy, text, data, "
    "once)"
)
_ONCE = "ON CONFLICT (once) WHERE once IS NOT NULL DO NOTHING"
_INSERT = ManyRows(
    f"{_INTO} VALUES ({_VALUES.format(':')}) {_ONCE}",
    f"{_INTO} SELECT {_VALUES.format('new.')} FROM json_to_recordset(CAST(:rows AS json)) AS new "
    "(number bigint, kind text, time bigint, subject text, subject_name text, project text, "
    f"policy text, rule text, text text, data text, once text) {_ONCE}",
)
_LOCK = Statement("SELECT last FROM event_counter WHERE name = 'event'", " FOR UPDATE")
_NUMBER = Statement(
    "UPDATE event SET number = :last + place.nth FROM (SELECT id, row_number() OVER (ORDER BY id) "
    "AS nth FROM event WHERE number IS NULL ORDER BY id LIMIT :most) AS place "
    "WHERE event.id = place.id"
)
_COUNT = Statement("UPDATE event_counter SET last = :last WHERE name = 'event'")
_HEAD = Statement("SELECT last FROM event_counter WHERE name = 'event'")
_NEW = Statement("SELECT id FROM event WHERE number IS NULL LIMIT 1")
_OLD = Statement("SELECT id FROM event WHERE time < :before LIMIT 1")
_OLDEST = Statement("SELECT min(number) FROM event")
_FORGET = Statement(
    "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE time < :before "
    "AND number IS NOT NULL ORDER BY time LIMIT :most)"
)


def add(sql: sa.Connection, event: Event) -> None:
    """Insert an event; a second event with the same `once` text changes nothing."""
    add_many(sql, [event])


def add_many(sql: sa.Connection, events: Iterable[Event]) -> None:
    """Insert events, in one statement."""
    if values := [_row(event) for event in events]:
        _INSERT(sql, values)
        sql.info[EVENTS] = True


def _row(event: Event) -> JsonObject:
    row = msgspec.structs.asdict(event) | {"kind": event.kind.value, "number": None}
    row["subject_name"] = event.subject_name[:_NAME]
    row["text"] = event.text.replace("\0", " ")[:_TEXT]
    row["data"] = msgspec.json.encode(event.data).decode()
    return row


def has_new(sql: sa.Connection) -> bool:
    """Whether a committed event has no number yet."""
    return _NEW.row(sql) is not None


def number_some(sql: sa.Connection) -> list[EventRecord]:
    """Number up to MOST committed events; other servers wait at a lock until the commit."""
    last = _last(_LOCK.row(sql))
    count = _NUMBER.run(sql, last=last, most=MOST)
    return _counted(sql, last, count)


def add_numbered(sql: sa.Connection, events: Sequence[Event], last: int) -> list[EventRecord]:
    """Insert events with the numbers after `last`, in the transaction that has given `last`.

    An event whose `once` text is stored already changes nothing.
    """
    keys = [event.once for event in events if event.once]
    stored: set[str | None] = set()
    for at in range(0, len(keys), MOST):
        query = sa.select(table.c.once).where(table.c.once.in_(keys[at : at + MOST]))
        stored |= set(sql.scalars(query))
    new = [event for event in events if event.once is None or event.once not in stored]
    rows = [_row(event) | {"number": number} for number, event in enumerate(new, last + 1)]
    _INSERT(sql, rows)
    return _counted(sql, last, len(rows))


def _counted(sql: sa.Connection, last: int, count: int) -> list[EventRecord]:
    """The events that have the next numbers, after the counter has moved."""
    if not count:
        return []
    _COUNT.run(sql, last=last + count)
    query = sa.select(table).where(table.c.number > last, table.c.number <= last + count)
    return [record(row) for row in sql.execute(query.order_by(table.c.number))]


def head(sql: sa.Connection) -> int:
    """The number of the newest event, 0 without events."""
    return _last(_HEAD.row(sql))


def oldest(sql: sa.Connection) -> int | None:
    """The smallest stored number, None without events."""
    row = _OLDEST.row(sql)
    return None if row is None or row[0] is None else int(row[0])


def page(sql: sa.Connection, wanted: EventQuery) -> list[EventRecord]:
    """Events after a number, the oldest first, or before a number, the newest first.

    Each of several kinds or projects has a query of its own, which reads its index in order: a
    single query would sort all their events.
    """
    order = table.c.number.desc() if wanted.after is None else table.c.number
    conditions = _conditions(wanted)
    rows: list[EventRecord] = []
    for first in _indexed(wanted):
        query = sa.select(table).where(*first, *conditions).order_by(order).limit(wanted.size)
        rows += [record(row) for row in sql.execute(query)]
    rows.sort(key=lambda event: event.number, reverse=wanted.after is None)
    return rows[: wanted.size]


def _indexed(wanted: EventQuery) -> list[list[Condition]]:
    """The conditions for an index, one list for each query."""
    if wanted.subject:
        return [[table.c.subject == wanted.subject]]
    if wanted.policy:
        return [[table.c.policy == wanted.policy]]
    if wanted.kinds:
        return [[table.c.kind == kind] for kind in set(wanted.kinds)]
    if wanted.scope.listed is not None:
        return [[table.c.project == project] for project in wanted.scope.listed]
    return [[]]


def last_kind(sql: sa.Connection, subject: str, kinds: Sequence[str]) -> str | None:
    """The kind of the newest event about a subject, among some kinds, or None."""
    query = sa.select(table.c.kind).where(table.c.subject == subject, table.c.kind.in_(kinds))
    newest: str | None = sql.scalar(query.order_by(table.c.id.desc()).limit(1))
    return newest


def has_old(sql: sa.Connection, before: int) -> bool:
    """Whether any event is older than a time (epoch ms)."""
    return _OLD.row(sql, before=before) is not None


def forget(sql: sa.Connection, before: int) -> int:
    """Delete up to MOST events before a time (epoch ms); returns their number."""
    return _FORGET.run(sql, before=before, most=MOST)


def _last(row: tuple[int, ...] | None) -> int:
    return int(row[0]) if row else 0


def _conditions(wanted: EventQuery) -> list[Condition]:
    """The conditions on each event, without the condition of the index."""
    where: list[Condition] = [table.c.number.is_not(None)]
    where += [table.c.kind.in_(wanted.kinds)] if wanted.kinds else []
    where += [table.c.policy == wanted.policy] if wanted.policy else []
    where += [table.c.number > wanted.after] if wanted.after is not None else []
    where += [table.c.number < wanted.before] if wanted.before is not None else []
    where += [table.c.number <= wanted.head] if wanted.head is not None else []
    where += [table.c.time >= wanted.since] if wanted.since is not None else []
    where += [table.c.time <= wanted.until] if wanted.until is not None else []
    listed = wanted.scope.listed
    return where if listed is None else [*where, table.c.project.in_(listed)]


def record(row: Row) -> EventRecord:
    return EventRecord(
        number=row.number,
        kind=label(row.kind),
        time=row.time,
        subject=Named(row.subject, row.subject_name),
        text=row.text,
        project=row.project,
        policy=row.policy,
        data=msgspec.json.decode(row.data, type=JsonObject),
    )
