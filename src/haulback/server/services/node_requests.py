"""File requests to nodes: the server passes the pieces of a node's answer to the waiting client.

A node opens no port: it fetches requests from any server by a long poll, and sends the pieces of
its answer.  The client's server takes the pieces from memory; pieces that arrive at another server
pass through the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Condition

import msgspec

from haulback import errors
from haulback.contract.nodes import AnswerPiece, PendingRequest
from haulback.errors import HaulbackError, NotFound, Unavailable
from haulback.server.store import node_requests
from haulback.server.store.engine import Store
from haulback.server.store.node_requests import AHEAD
from haulback.server.wakeups import Wakeups
from haulback.wire import JsonObject

_SILENT = 60.0  # seconds to wait for a piece
_TAKES = 1.0  # seconds that a piece waits for space in the buffer
_ASK_AGAIN = node_requests.AGAIN_MS / 1000 + 0.1
_LOOK_AGAIN = 0.25  # seconds between two queries for pieces that another server received


class NodeRequests:
    """The file requests of one server process."""

    def __init__(self, store: Store, wakeups: Wakeups, now: Callable[[], int]) -> None:
        self._store, self._wakeups, self._now = store, wakeups, now
        self._open: dict[str, _Answer] = {}

    def request(self, node: str, body: JsonObject) -> Iterator[bytes]:
        """The pieces of a node's answer.

        Raises the error that the node sends, and Unavailable if the node is silent.
        """
        with self._store.write() as sql:
            guid = node_requests.put(sql, node, body, self._now())
        answer = self._open[guid] = _Answer()
        self._wakeups.ring_for([node])
        try:
            number, more = 0, True
            while more:
                part = self._next(node, guid, answer, number)
                if part.error is not None:
                    raise _sent_error(part.error)
                number, more = number + 1, not part.last
                yield part.body
        finally:
            del self._open[guid]
            with self._store.write() as sql:
                node_requests.drop(sql, guid)

    def _next(self, node: str, guid: str, answer: _Answer, number: int) -> AnswerPiece:
        begun = again = time.monotonic()
        while time.monotonic() < begun + _SILENT:
            if part := answer.take(number, _LOOK_AGAIN):
                return part
            if not self._store.is_sqlite:
                with self._store.write() as sql:
                    if part := node_requests.pick_up(sql, guid, number):
                        return part
            if self._wakeups.is_over:
                raise Unavailable("the server stops; send the request again")
            if not number and time.monotonic() > again + _ASK_AGAIN:
                again = time.monotonic()
                self._wakeups.ring_for([node])
        raise Unavailable("the node does not answer; check that the node runs")

    def fetch(self, node: str) -> list[PendingRequest]:
        """The requests to a node that the node has not begun to answer."""
        now = self._now()
        with self._store.read() as sql:
            if not node_requests.waiting(sql, node, now):
                return []
        with self._store.write() as sql:
            return node_requests.offer(sql, node, now)

    def bring(self, node: str, guid: str, part: AnswerPiece) -> bool:
        """Accept a piece of an answer; False while the buffer is full.

        Raises NotFound if the client no longer waits.
        """
        answer = self._open.get(guid)
        if answer and part.number:
            return answer.put(part, _TAKES)
        with self._store.write() as sql:
            if not node_requests.is_asked(sql, node, guid):
                raise NotFound("no client waits for this answer any more", guid=guid)
            if not part.number:
                node_requests.heard(sql, guid)
        if answer:
            return answer.put(part, _TAKES)
        with self._store.write() as sql:
            if not node_requests.has_room(sql, guid):
                return False
            node_requests.lay_down(sql, guid, part)
        return True


class _Answer:
    """Accept pieces of an answer for the waiting request; a repeated piece is no error."""

    def __init__(self) -> None:
        self._parts: dict[int, AnswerPiece] = {}
        self._next = 0
        self._changed = Condition()

    def put(self, part: AnswerPiece, seconds: float) -> bool:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._parts) < AHEAD, seconds):
                return False
            if part.number >= self._next:
                self._parts[part.number] = part
            self._changed.notify_all()
            return True

    def take(self, number: int, seconds: float) -> AnswerPiece | None:
        with self._changed:
            self._changed.wait_for(lambda: number in self._parts, seconds)
            part = self._parts.pop(number, None)
            if part is not None:
                self._next = number + 1
                self._changed.notify_all()
            return part


def _sent_error(text: str) -> HaulbackError:
    """The error that a node sent, as an exception of its code."""
    try:
        found = msgspec.json.decode(text, type=dict[str, str])
        kind = _KINDS.get(found.get("code", ""), Unavailable)
        return kind(found.get("message", "")[:2000])
    except msgspec.DecodeError:
        return Unavailable("the node sent a malformed response")


_KINDS = errors.by_code(  # a node must not answer a user in the name of the server
    errors.BaseGone,
    errors.Conflict,
    errors.Damaged,
    errors.Malformed,
    errors.NotFound,
    errors.Unavailable,
    errors.Unsupported,
)
