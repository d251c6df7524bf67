"""The numbers of events: one transaction numbers committed events in order and applies their
consequences.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from haulback.contract.events import EventRecord
from haulback.errors import HaulbackError
from haulback.server.services import notification_outbox, workflow_ends
from haulback.server.store import events
from haulback.server.store.engine import Connection, Store

log = logging.getLogger(__name__)


def number_new(store: Store, now: int) -> Iterator[list[EventRecord]]:
    """Number all committed events, in transactions of at most 500; yields the events of each."""
    while True:
        with store.read() as sql:
            if not events.has_new(sql):
                return
        with store.write() as sql:
            numbered = events.number_some(sql)
            with _followed(store, sql, numbered):
                numbered = [*numbered, *workflow_ends.record(sql, numbered, now)]
            with _followed(store, sql, numbered):
                notification_outbox.enqueue(sql, numbered, now)
        yield numbered


@contextmanager
def _followed(store: Store, sql: Connection, numbered: Sequence[EventRecord]) -> Iterator[None]:
    """A block with changes that events cause, in the transaction that numbers the events.

    A defect in a change must not stop the numbering of later events.
    """
    try:
        with store.savepoint(sql):
            yield
    except HaulbackError:
        raise  # the database does not answer: the events are numbered later
    except Exception:
        log.exception("the consequences of %d numbered events failed", len(numbered))
