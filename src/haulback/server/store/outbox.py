"""The outbox: messages that wait for their delivery, inserted in the transaction of their
events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from haulback.contract.events import EventRecord
from haulback.contract.notifications import DeliveryAttempt
from haulback.errors import NotFound
from haulback.ids import is_beginning
from haulback.inventory.delivery import WAITING, Delivery
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.store import events
from haulback.server.store.event_tables import event as event_table
from haulback.server.store.expressions import Condition
from haulback.server.store.notification_tables import delivery as table
from haulback.server.store.notification_tables import delivery_event
from haulback.server.store.raw_sql import Statement
from haulback.server.store.rows import records
from haulback.texts import printable

COLLECTING, SENDING = "COLLECTING", "SENDING"
DELIVERED, FAILED = "DELIVERED", "FAILED"
MOST_EVENTS = 200  # events of a digest that the message lists
_KEPT_ATTEMPTS, _INFO = 20, 2000
_MOST_PUT_OFF = 500  # messages in one transaction
_OPEN = sa.text("state IN ('COLLECTING', 'WAITING', 'SENDING')")
_DUE = Statement(
    "SELECT guid FROM delivery WHERE state IN ('COLLECTING', 'WAITING', 'SENDING') "
    "AND due <= :now LIMIT 1"
)
_FIRST = Statement(
    "INSERT INTO first_run (policy, run) VALUES (:policy, :run) ON CONFLICT DO NOTHING"
)
_FORGET = Statement(
    "DELETE FROM delivery WHERE guid IN "
    "(SELECT guid FROM delivery WHERE finished < :before LIMIT 500)"
)
_OLD = Statement("SELECT guid FROM delivery WHERE finished < :before LIMIT 1")


def add(sql: sa.Connection, made: Delivery, numbers: Iterable[int] = ()) -> None:
    """Insert a message with its events."""
    made.title = made.title[:400]
    sql.execute(sa.insert(table).values(msgspec.structs.asdict(made)))
    _link(sql, made.guid, numbers)


def collect(sql: sa.Connection, made: Delivery, numbers: Sequence[int]) -> None:
    """Add events to the open digest of a rule and a channel, or begin a digest.

    A digest that another server claims at the same time is locked: the events are added before the
    claim, or begin the next digest.
    """
    same = (table.c.rule == made.rule, table.c.channel == made.channel)
    query = sa.select(table.c.guid, table.c.count).where(*same, sa.text("state = 'COLLECTING'"))
    row = sql.execute(query.with_for_update()).one_or_none()
    if row is None:
        made.state, made.count = COLLECTING, len(numbers)
        add(sql, made, numbers[:MOST_EVENTS])
        return
    guid, before = row
    change = sa.update(table).where(table.c.guid == guid)
    sql.execute(change.values(count=before + len(numbers)))
    _link(sql, guid, numbers[: max(0, MOST_EVENTS - before)])


def _link(sql: sa.Connection, guid: str, numbers: Iterable[int]) -> None:
    if rows := [{"delivery": guid, "number": number} for number in numbers]:
        sql.execute(sa.insert(delivery_event), rows)


def has_due(sql: sa.Connection, now: int) -> bool:
    """Whether any message is due."""
    return _DUE.row(sql, now=now) is not None


def claim(
    sql: sa.Connection, now: int, lease: int, busy: Sequence[str], most: int
) -> list[Delivery]:
    """Claim due messages until `lease` (epoch ms), at most one of each channel, and none of the
    channels in `busy`.

    A message that another server holds is skipped; its lease ends if that server dies.
    """
    query = sa.select(table).where(_OPEN, table.c.due <= now, table.c.channel.not_in(busy))
    query = query.order_by(table.c.due, table.c.created).limit(50)
    rows = records(sql, query.with_for_update(skip_locked=True), Delivery)
    chosen = list({row.channel: row for row in reversed(rows)}.values())[-most:]
    for row in chosen:
        row.state, row.attempts, row.due = SENDING, row.attempts + 1, lease
        write(sql, row)
    return chosen


def settle(sql: sa.Connection, done: Delivery, attempt: int) -> bool:
    """Write the result of an attempt; False if the lease ran out and another attempt has begun."""
    mine = (table.c.guid == done.guid, table.c.state == SENDING, table.c.attempts == attempt)
    if sql.scalar(sa.select(table.c.guid).where(*mine).with_for_update()) is None:
        return False
    write(sql, done)
    return True


def put_off(sql: sa.Connection, channel: str, until: int) -> None:
    """Move the attempts of a channel's waiting messages to a time (epoch ms), the earliest first.

    Messages that another transaction has locked are skipped, so that no two servers deadlock.
    """
    early = (table.c.channel == channel, table.c.state == WAITING, table.c.due < until)
    query = sa.select(table.c.guid).where(_OPEN, *early).order_by(table.c.due)
    chosen = query.limit(_MOST_PUT_OFF).with_for_update(skip_locked=True)
    sql.execute(sa.update(table).where(table.c.guid.in_(chosen)).values(due=until))


def logged(done: Delivery, attempt: DeliveryAttempt) -> None:
    """Add an attempt to a message's log, which keeps the last attempts.

    A receiver's text may contain NUL, which PostgreSQL refuses, so it is stored escaped.
    """
    kept = [*done.tried, attempt][-_KEPT_ATTEMPTS:]
    done.log = msgspec.json.encode(kept).decode()
    done.status_info = printable(attempt.text)[:_INFO]


def write(sql: sa.Connection, row: Delivery) -> None:
    """Write a message that this transaction locked."""
    values = msgspec.structs.asdict(row)
    guid = values.pop("guid")
    sql.execute(sa.update(table).where(table.c.guid == guid).values(values))


def again(sql: sa.Connection, guid: str, scope: Scope, now: int) -> Delivery:
    """Queue a message for another delivery at once.  Raises NotFound."""
    row = get(sql, guid, scope, lock=True)
    if row.state != SENDING:
        row.state, row.due, row.attempts, row.finished = WAITING, now, 0, None
        write(sql, row)
    return row


def follow_back(sql: sa.Connection, now: int, step: int) -> None:
    """Move future times back by `step` (ms), because the clock was set back."""
    ahead = sa.update(table).where(_OPEN, table.c.due > now)
    sql.execute(ahead.values(due=table.c.due - step))


def get(sql: sa.Connection, guid: str, scope: Scope, *, lock: bool = False) -> Delivery:
    """A message by its guid.  Raises NotFound."""
    query = sa.select(table).where(table.c.guid == guid)
    for row in records(sql, query.with_for_update() if lock else query, Delivery):
        if scope.allows(row.project):
            return row
    raise NotFound(f"there is no delivery {guid}", guid=guid)


def page(sql: sa.Connection, wanted: ListQuery) -> tuple[list[Delivery], int]:
    """A page of messages, the newest first, and the number of all; `subject` is a channel."""
    where: list[Condition] = [table.c.state.in_(wanted.statuses)] if wanted.statuses else []
    where += [table.c.channel == wanted.subject] if wanted.subject else []
    where += [table.c.created >= wanted.since] if wanted.since is not None else []
    where += [table.c.created <= wanted.until] if wanted.until is not None else []
    where += [_fits(wanted.text)] if wanted.text else []
    listed = wanted.scope.listed
    where += [] if listed is None else [table.c.project.in_(listed)]
    count = sa.select(sa.func.count()).select_from(table).where(*where)
    order = (table.c.created.desc(), table.c.guid)
    query = sa.select(table).where(*where).order_by(*order)
    query = query.limit(wanted.size).offset(wanted.page * wanted.size)
    return records(sql, query, Delivery), sql.scalar(count) or 0


def _fits(text: str) -> Condition:
    """The condition of a text: a part of the channel's name, or the beginning of the guid."""
    named = table.c.channel_name.icontains(text, autoescape=True)
    if not is_beginning(text):
        return named
    return sa.or_(named, table.c.guid.startswith(text.lower(), autoescape=True))


def events_of(sql: sa.Connection, guid: str) -> list[EventRecord]:
    """The events of a message, in order; deleted events are left out."""
    query = sa.select(event_table).join(
        delivery_event, delivery_event.c.number == event_table.c.number
    )
    query = query.where(delivery_event.c.delivery == guid).order_by(event_table.c.number)
    return [events.record(row) for row in sql.execute(query)]


def is_first_run(sql: sa.Connection, policy: str, run: str) -> bool:
    """Whether a run is the first run of its policy; if so, the run is recorded as the first."""
    return _FIRST.run(sql, policy=policy, run=run) == 1


def forget(sql: sa.Connection, before: int) -> int:
    """Delete some messages that ended before a time (epoch ms); returns their number."""
    return _FORGET.run(sql, before=before)


def has_old(sql: sa.Connection, before: int) -> bool:
    """Whether any message ended before a time (epoch ms)."""
    return _OLD.row(sql, before=before) is not None
