"""The numbers of events: committed events get their numbers in order, and all that follows from
them, in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.events import EventRecord
from haulback.server.services import notification_outbox, work_ends
from haulback.server.store import events
from haulback.server.store.engine import Connection, Store


def number_new(store: Store, now: int) -> int:
    """Number all committed events, in transactions of at most 500; returns their number."""
    total = 0
    while True:
        with store.read() as sql:
            if not events.has_new(sql):
                return total
        with store.write() as sql:
            numbered = events.number_some(sql)
            _follow(sql, numbered, now)
        total += len(numbered)


def _follow(sql: Connection, numbered: Sequence[EventRecord], now: int) -> None:
    """Changes that events bring about, in the transaction that numbers them."""
    work_ends.record(sql, numbered, now)
    notification_outbox.enqueue(sql, numbered, now)
