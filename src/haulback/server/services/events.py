"""Events, as callers read them: pages of a list, and blocks of a stream."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from haulback.contract.events import EventRecord
from haulback.server.queries import EventQuery
from haulback.server.services.app import App
from haulback.server.services.event_hub import block
from haulback.server.store import events
from haulback.units import DAY_MS

KEPT_MS = 90 * DAY_MS  # time for which events are stored
_PAGE = 200  # events that a stream reads from the database at once


class StreamPart(NamedTuple):
    """Blocks of a stream, and the number of the last event in them."""

    data: bytes
    number: int


def page(app: App, wanted: EventQuery) -> list[EventRecord]:
    """A page of events that includes all events committed before the call."""
    app.event_hub.advance()
    with app.store.read() as sql:
        return events.page(sql, wanted)


def is_incomplete(app: App, after: int) -> bool:
    """Whether events after a number are no longer stored: deleted after 90 days, or in a lost
    database.
    """
    with app.store.read() as sql:
        oldest, head = events.oldest(sql), events.head(sql)
    return after > head or after + 1 < (head + 1 if oldest is None else oldest)


def next_part(app: App, wanted: EventQuery) -> StreamPart:
    """The next events of a stream after `wanted.after`, from memory or from the database."""
    after = wanted.after or 0
    entries = app.event_hub.after(after)
    if entries is not None:
        chosen = [entry.block for entry in entries if _is_wanted(entry.event, wanted)]
        return StreamPart(b"".join(chosen), entries[-1].event.number if entries else after)
    # Read before the events, so that no event up to this number is missed.
    head = app.event_hub.head
    query = msgspec.structs.replace(wanted, head=head, size=_PAGE)
    with app.store.read() as sql:
        stored = events.page(sql, query)
    reached = stored[-1].number if len(stored) == _PAGE else head
    return StreamPart(b"".join(map(block, stored)), reached)


def is_in_memory(app: App, after: int) -> bool:
    """Whether `next_part` can answer without the database."""
    return app.event_hub.after(after) is not None


def _is_wanted(event: EventRecord, wanted: EventQuery) -> bool:
    """The conditions of `EventQuery`, applied to an event in memory."""
    return (
        wanted.scope.allows(event.project)
        and (not wanted.kinds or event.kind.name in wanted.kinds)
        and wanted.subject in (None, event.subject.guid)
        and wanted.policy in (None, event.policy)
        and (wanted.since is None or event.time >= wanted.since)
        and (wanted.until is None or event.time <= wanted.until)
    )


def forget(app: App) -> int:
    """Delete some events that are older than 90 days; returns their number."""
    before = app.clock.now_ms() - KEPT_MS
    with app.store.read() as sql:
        if not events.has_old(sql, before):
            return 0
    with app.store.write() as sql:
        return events.forget(sql, before)
