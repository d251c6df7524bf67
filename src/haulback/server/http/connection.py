"""A connection of a client: heads and bodies arrive within a time limit, or the server closes it.

uvicorn parses HTTP and runs the application.  This module adds the limits: the time of a head and
of a body, the size of a head, and the number of half-open connections.
"""

from __future__ import annotations

import asyncio
import math
import resource
from contextlib import suppress
from functools import cache
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from haulback.errors import HaulbackError, Malformed, TooLarge, TooSlow
from haulback.server.http.responses import failed
from haulback.units import KIB

HEAD_SECONDS = 10.0  # seconds for a head, from its first byte or the connection's start
BODY_SECONDS = 10.0  # seconds to the first byte of a body; each RATE bytes add one second
RATE = 16 * KIB
STALL_SECONDS = 60.0  # seconds after which a client that reads no bytes is disconnected
KEEP_ALIVE_SECONDS = 5  # seconds between two requests on one connection
LINGER_SECONDS = 2.0
HEAD_BYTES, HEAD_FIELDS = 32 * KIB, 100
MOST_PIPELINED = 8  # requests on one connection that wait for an earlier request
MOST_CONNECTIONS = 2048
_RESERVE = 192  # descriptors for the database, the log and loaded modules
_MOST_DESCRIPTORS = 65_536


class HeadTooLarge(TooLarge):
    """The request line and the header fields are too large."""

    code, status = "head_too_large", 431


Halves = dict["Connection", None]


@cache
def room_for_connections() -> int:
    """The number of connections that fit; raises the process's descriptor limit if necessary."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(16, min(MOST_CONNECTIONS, soft - _RESERVE))


class Connection(HttpToolsProtocol):
    """The connection of a client, with a deadline for the head or body that it sends.

    `halves` are the connections of the server whose first head is incomplete, oldest first.
    """

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop, halves: Halves) -> None:
        super().__init__(server.config, server.server_state, server.lifespan.state, loop)
        self._halves = halves

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._until, self._rings = math.inf, math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of the current head
        self._silent = 0  # bytes since the parser last completed an event
        self._wrong: HaulbackError | None = None
        self._waits_for_head, self._has_begun = True, False
        super().connection_made(transport)
        self._halves[self] = None
        self._make_room()
        self._due(self.loop.time() + HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._halves.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._wrong is not None or self.parser is None:
            return  # the request was refused; the rest of its bytes is dropped
        self._unset_keepalive_if_required()
        self._silent += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # the server supports no protocol upgrade and answers the request as plain HTTP
        except httptools.HttpParserError:
            self._refuse(
                self._wrong
                or Malformed("the request is not valid HTTP/1.1; correct the client or the proxy")
            )
            return
        if self._silent > HEAD_BYTES + len(data):
            self._refuse(_head_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = self._silent = 0
        self._waits_for_head = self._has_begun = True
        if self.cycle is None or self.cycle.response_complete:
            self._due(self.loop.time() + HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        if self._waits_for_head:  # the trailer fields of a chunked body are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            self._wrong = Malformed(
                "too many requests at once on one connection; wait for responses, or open "
                "more connections"
            )
            raise self._wrong
        self._waits_for_head, self._silent = False, 0
        self._body_begun, self._brought = self.loop.time(), 0
        self._due(self._body_begun + BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        self._brought += len(body)
        if not self.cycle.response_complete:
            self._due(self._body_begun + BODY_SECONDS + self._brought / RATE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._halves.pop(self, None)
        self._has_begun = False
        answered = self.cycle.response_complete
        self._due(self.loop.time() + self.timeout_keep_alive if answered else math.inf)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        now = self.loop.time()
        if self.cycle.more_body:  # the rest of the client's bytes is dropped for a while
            self._due(now + BODY_SECONDS)
        elif is_last:
            self._waits_for_head = True
            self._halves[self] = None
            self._due(now + HEAD_SECONDS)
        else:
            self._due(math.inf)

    def pause_writing(self) -> None:
        self._due(self.loop.time() + STALL_SECONDS)
        super().pause_writing()

    def resume_writing(self) -> None:
        is_over = self.cycle is None or self.cycle.response_complete
        self._due(self.loop.time() + HEAD_SECONDS if is_over else math.inf)
        super().resume_writing()

    def _grow(self, size: int) -> None:
        """Count the bytes of a head.  Raises HeadTooLarge, which the parser passes on."""
        self._silent = 0
        self._head += size
        if self._head > HEAD_BYTES or (self.headers and len(self.headers) > HEAD_FIELDS):
            self._wrong = _head_too_large()
            raise self._wrong

    def _due(self, at: float) -> None:
        """Schedule a check of the connection at a time of the loop's clock."""
        self._until = at
        if at < self._rings:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = self._until
        self._timer = self.loop.call_at(self._until, self._rung) if self._rings < math.inf else None

    def _rung(self) -> None:
        self._timer, self._rings = None, math.inf
        if self.transport.is_closing():
            return
        if self.loop.time() >= self._until:
            self._expire()
        else:
            self._arm()

    def _expire(self) -> None:
        cycle = self.cycle
        if self._wrong is not None or self.flow.write_paused:
            self.transport.abort()
        elif cycle is None or cycle.response_complete:
            self._late("the head of the request", self._has_begun and self._waits_for_head)
        elif cycle.more_body and self.flow.read_paused:
            self._due(self.loop.time() + BODY_SECONDS)  # the server has not read the bytes yet
        else:
            self._late("the body of the request", cycle.more_body and not cycle.response_started)

    def _late(self, what: str, answerable: bool) -> None:
        """Answer an incomplete request; close an empty connection without a response."""
        if answerable:
            self._refuse(TooSlow(f"{what} did not arrive in time; send it again"))
        else:
            self.transport.close()

    def _refuse(self, error: HaulbackError) -> None:
        """Send the error and close: the parser cannot find the next request on this connection."""
        self._wrong = error
        if self.pipeline:  # an answer now would overtake the answers to earlier requests
            self.pipeline.clear()
            self.transport.close()
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        answer = failed(error, "", "")
        fields = [*answer.headers, (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        line = STATUS_LINE.get(answer.status, b"HTTP/1.1 400 Bad Request\r\n")
        self.transport.write(line + head + b"\r\n" + answer.body)
        self._linger()

    def _linger(self) -> None:
        """Read and drop further bytes of the client for a while, because a reset would discard the
        response.
        """
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._due(self.loop.time() + LINGER_SECONDS)

    def _make_room(self) -> None:
        """Close the oldest half-open connection if there are too many."""
        if len(self.connections) <= room_for_connections():
            return
        oldest = next(iter(self._halves))
        del self._halves[oldest]
        oldest.transport.abort()


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"the head of the request has more than {HEAD_BYTES} bytes or {HEAD_FIELDS} fields"
    )
