"""Events over the API: pages, and the stream as events happen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypedDict, Unpack

import msgspec

from haulback.client.calls import Calls, Page, spelled
from haulback.contract.events import EventRecord
from haulback.errors import Unavailable
from haulback.wire import JsonObject

_PAUSE = 2.0  # seconds between the end of a stream and the next stream


class EventFilter(TypedDict, total=False):
    """Filters of events: kinds, guids, epoch ms; `after` and `before` are numbers."""

    after: int
    before: int
    size: int
    kind: list[str]
    subject: str
    policy: str
    from_: int
    to: int


class Events:
    """Events of the server, by number."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def page(self, **query: Unpack[EventFilter]) -> Page[EventRecord]:
        """Fetch a page: the oldest events after a number, or the newest events."""
        return self._calls.page(EventRecord, "/events", {**query})

    def follow(self, **query: Unpack[EventFilter]) -> Iterator[EventRecord]:
        """Yield events as they happen, without end; a connection that breaks is resumed.

        Starts after the number `after`, or now.  Raises the error with which the server refuses the
        first connection.
        """
        last, started = query.get("after"), False
        while True:
            try:
                for number, event in self._stream({**query, "after": last}):
                    last, started = number, True
                    if event is not None:
                        yield event
            except Unavailable:
                if not started:
                    raise
            time.sleep(_PAUSE)

    def _stream(self, query: JsonObject) -> Iterator[tuple[int, EventRecord | None]]:
        """Numbers and events of one connection; a number without an event only marks a position."""
        number, data = 0, ""
        for line in self._calls.api.lines("/events", spelled(query), "text/event-stream"):
            name, _, value = line.partition(": ")
            if name == "id":
                number = int(value)
            elif name == "data":
                data = value
            elif not line and number:
                yield number, msgspec.json.decode(data, type=EventRecord) if data else None
                data = ""
