"""Asking a node while somebody waits, and passing its answer on piece by piece.

A node never listens: it fetches questions by a long poll, at whichever server, and brings pieces of
the answer back.  The server that was asked takes them from memory; brought to another server, they
lie in the database for a moment.
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

_SILENT = 60.0  # seconds without a piece
_TAKES = 1.0  # seconds that a piece waits for room
_ASK_AGAIN = node_requests.AGAIN_MS / 1000 + 0.1
_LOOK_AGAIN = 0.25  # seconds between two looks for what another server was given


class NodeRequests:
    """The questions of one server process."""

    def __init__(self, store: Store, bell: Wakeups, now: Callable[[], int]) -> None:
        self._store, self._bell, self._now = store, bell, now
        self._open: dict[str, _Answer] = {}

    def ask(self, node: str, body: JsonObject) -> Iterator[bytes]:
        """The pieces of a node's answer.  Raises what the node says, Unavailable when silent."""
        with self._store.write() as sql:
            guid = node_requests.put(sql, node, body, self._now())
        answer = self._open[guid] = _Answer()
        self._bell.ring_for([node])
        try:
            number, more = 0, True
            while more:
                part = self._next(node, guid, answer, number)
                if part.error is not None:
                    raise _told(part.error)
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
            if self._bell.is_over:
                raise Unavailable("the server stops; ask again")
            if not number and time.monotonic() > again + _ASK_AGAIN:
                again = time.monotonic()
                self._bell.ring_for([node])
        raise Unavailable("the node does not answer; is it running?")

    def fetch(self, node: str) -> list[PendingRequest]:
        """The requests to a node that it has not begun to answer."""
        now = self._now()
        with self._store.read() as sql:
            if not node_requests.waiting(sql, node, now):
                return []
        with self._store.write() as sql:
            return node_requests.offer(sql, node, now)

    def bring(self, node: str, guid: str, part: AnswerPiece) -> bool:
        """A piece of an answer; False: there is no room yet, bring it again.

        Raises NotFound when nobody waits for it any more.
        """
        answer = self._open.get(guid)
        if answer and part.number:
            return answer.put(part, _TAKES)
        with self._store.write() as sql:
            if not node_requests.is_asked(sql, node, guid):
                raise NotFound("nobody waits for this answer any more", guid=guid)
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
    """Pieces of an answer for the waiting request; a repeated piece is no error."""

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


def _told(text: str) -> HaulbackError:
    """An error that a node names; one of ours that is not known there is what it says."""
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
