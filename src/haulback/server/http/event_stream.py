"""Server-sent event streams: blocks when events happen, and comments while none happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from haulback.errors import HaulbackError, TooMany
from haulback.server.caller import Caller
from haulback.server.http.responses import failed
from haulback.server.queries import EventQuery
from haulback.server.services import events
from haulback.server.services.app import App

HEARTBEAT_SECONDS = 15.0  # proxies close a stream that is silent for a minute
_RETRY_MS = 2000  # milliseconds after which a disconnected client connects again
_HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy must not buffer events
]
# Streams share these threads: each admission or page of old events uses a thread only briefly.
_POOL = ThreadPoolExecutor(max_workers=4, thread_name_prefix="streams")


class EventStream:
    """An ASGI application that streams the events that match a query, after number `wanted.after`.

    An `account` (guid) may have a limited number of streams.  `admitted` checks the login again and
    returns the caller, or raises: when a login ends, its streams end within a heartbeat.
    """

    def __init__(
        self,
        app: App,
        wanted: EventQuery,
        account: str,
        admitted: Callable[[], Caller],
        *,
        incomplete: bool,
    ) -> None:
        self._app, self._wanted, self._account, self._admitted = app, wanted, account, admitted
        self._head = [*_HEAD, *([(b"x-incomplete", b"true")] if incomplete else [])]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with ExitStack() as stack:
            try:
                # Counting and checking are one step, since otherwise streams that start together
                # could exceed the limit.
                stack.enter_context(self._app.event_hub.streams.counted(self._account))
            except TooMany as error:
                await failed(error, "GET", "/events")(scope, receive, send)
                return
            await self._stream(receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._head})
        # This block holds a number only: it advances the position of a client that is disconnected
        # before the first event.
        first = f"retry: {_RETRY_MS}\nid: {self._wanted.after}\n\n".encode()
        await send({"type": "http.response.body", "body": first, "more_body": True})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await self._pump(send, gone)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send, gone: asyncio.Future[None]) -> None:
        """Send blocks until the client disconnects, the server stops or the login ends."""
        loop, readers = asyncio.get_running_loop(), self._app.event_hub.readers
        beat = loop.time() + HEARTBEAT_SECONDS
        while not gone.done() and not readers.is_over:
            waiter = readers.listen()
            try:
                data = await self._next()
                if not data:
                    await _first_of(waiter.event, gone, max(0.0, beat - loop.time()))
            finally:
                readers.leave(waiter)
            if loop.time() >= beat:
                beat = loop.time() + HEARTBEAT_SECONDS
                if not await self._still_admitted():
                    return
                data += b": \n\n"
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _next(self) -> bytes:
        """The next blocks; an empty result means that the stream has reached the newest event."""
        app = self._app
        while True:
            after = self._wanted.after or 0
            if events.is_in_memory(app, after):
                part = events.next_part(app, self._wanted)
            else:
                loop = asyncio.get_running_loop()
                part = await loop.run_in_executor(_POOL, events.next_part, app, self._wanted)
            self._wanted = msgspec.structs.replace(self._wanted, after=part.number)
            if part.data or part.number == after:
                return part.data

    async def _still_admitted(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            who = await loop.run_in_executor(_POOL, self._admitted)
        except HaulbackError:
            return False
        self._wanted = msgspec.structs.replace(self._wanted, scope=who.scope)
        return True


async def _first_of(event: asyncio.Event, gone: asyncio.Future[None], seconds: float) -> None:
    """Wait for a signal, for the client to disconnect, or for the given seconds."""
    rings: asyncio.Future[object] = asyncio.ensure_future(event.wait())
    both: set[asyncio.Future[Any]] = {rings, gone}
    await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    rings.cancel()


async def _gone(receive: Receive) -> None:
    """Return when the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
