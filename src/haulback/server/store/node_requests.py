"""Requests to nodes, and pieces of the answers, readable by all servers of a database."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from haulback.contract.nodes import AnswerPiece, PendingRequest
from haulback.ids import new_guid
from haulback.server.store import mount_tables
from haulback.wire import JsonObject

_QUESTIONS, _PARTS = mount_tables.question, mount_tables.answer_part
AHEAD = 4  # pieces of an answer in the database at the same time
AGAIN_MS = 3_000  # time after which an unanswered request is offered again
_OLD_MS = 3_600_000  # time after which requests without an answer are deleted: an hour
_NEVER = 1 << 62


def put(sql: sa.Connection, node: str, body: JsonObject, now: int) -> str:
    """Add a request to a node, and return the guid of the request."""
    guid = new_guid()
    text = msgspec.json.encode(body).decode()
    row = {"guid": guid, "node": node, "created": now, "offered": 0, "body": text}
    sql.execute(sa.insert(_QUESTIONS).values(row))
    sql.execute(sa.delete(_QUESTIONS).where(_QUESTIONS.c.created < now - _OLD_MS))
    return guid


def waiting(sql: sa.Connection, node: str, now: int) -> bool:
    """Whether a node must read a request, perhaps again."""
    where = (_QUESTIONS.c.node == node, _QUESTIONS.c.offered < now - AGAIN_MS)
    return sql.scalar(sa.select(_QUESTIONS.c.guid).where(*where).limit(1)) is not None


def offer(sql: sa.Connection, node: str, now: int) -> list[PendingRequest]:
    """The requests that a node must read; after an interrupted poll the same requests are offered
    again.
    """
    mine = (_QUESTIONS.c.node == node, _QUESTIONS.c.offered < now - AGAIN_MS)
    query = sa.select(_QUESTIONS.c.guid, _QUESTIONS.c.body).where(*mine)
    rows = sql.execute(query.order_by(_QUESTIONS.c.created).with_for_update()).all()
    _mark(sql, [row.guid for row in rows], now)
    return [PendingRequest(row.guid, msgspec.json.decode(row.body)) for row in rows]


def heard(sql: sa.Connection, guid: str) -> None:
    """Mark a request as answered, so that it is not offered again."""
    _mark(sql, [guid], _NEVER)


def _mark(sql: sa.Connection, guids: list[str], offered: int) -> None:
    if guids:
        here = _QUESTIONS.c.guid.in_(guids)
        sql.execute(sa.update(_QUESTIONS).where(here).values(offered=offered))


def is_asked(sql: sa.Connection, node: str, guid: str) -> bool:
    """Whether a user still waits for an answer of this node."""
    where = (_QUESTIONS.c.guid == guid, _QUESTIONS.c.node == node)
    return sql.scalar(sa.select(_QUESTIONS.c.guid).where(*where)) is not None


def drop(sql: sa.Connection, guid: str) -> None:
    """Delete a request whose user no longer waits, with its pieces."""
    sql.execute(sa.delete(_PARTS).where(_PARTS.c.question == guid))
    sql.execute(sa.delete(_QUESTIONS).where(_QUESTIONS.c.guid == guid))


def has_room(sql: sa.Connection, guid: str) -> bool:
    """Whether another piece of an answer may be stored."""
    count = sa.select(sa.func.count()).where(_PARTS.c.question == guid)
    return (sql.scalar(count) or 0) < AHEAD


def lay_down(sql: sa.Connection, guid: str, part: AnswerPiece) -> None:
    """Store a piece for another server; a repeated piece changes nothing."""
    same = (_PARTS.c.question == guid, _PARTS.c.number == part.number)
    sql.execute(sa.delete(_PARTS).where(*same))
    values = {**msgspec.structs.asdict(part), "question": guid}
    sql.execute(sa.insert(_PARTS).values(values))


def pick_up(sql: sa.Connection, guid: str, number: int) -> AnswerPiece | None:
    """Read a piece that another server received, and delete it."""
    where = (_PARTS.c.question == guid, _PARTS.c.number == number)
    row = sql.execute(sa.select(_PARTS).where(*where)).one_or_none()
    if row is None:
        return None
    sql.execute(sa.delete(_PARTS).where(*where))
    return AnswerPiece(row.number, bytes(row.body), row.last, row.error)
