"""The audit log, and the stored results of repeated requests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.contract.audit import AuditEntry
from haulback.errors import Conflict
from haulback.server.store.expressions import Row
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import audit, idempotency

_WRITE = Statement(
    "INSERT INTO audit (time, caller, login, operation, subject, before, after) "
    "VALUES (:time, :caller, :login, :operation, :subject, :before, :after)"
)
# An object that an operation changed, before and after the change.
AuditLine = tuple[str | None, object, object]
KEPT_MS = 86_400_000  # time for which a key gives the same answer


class RepeatableRequest(NamedTuple):
    """A request with an idempotency key: the caller's guid, the key, the bytes of the request."""

    caller: str
    key: str
    request: bytes


def write(
    sql: sa.Connection, now: int, caller: tuple[str, str], operation: str, line: AuditLine
) -> None:
    """Add an entry to the log; `caller` is guid and login."""
    subject, before, after = line
    _WRITE.run(
        sql,
        time=now,
        caller=caller[0],
        login=caller[1],
        operation=operation,
        subject=subject,
        before=_text(before),
        after=_text(after),
    )


def write_many(
    sql: sa.Connection,
    now: int,
    caller: tuple[str, str],
    operation: str,
    lines: Sequence[AuditLine],
) -> None:
    """Add entries about many objects of one operation."""
    by = {"time": now, "caller": caller[0], "login": caller[1], "operation": operation}
    rows = [by | {"subject": s, "before": _text(b), "after": _text(a)} for s, b, a in lines]
    if rows:
        _WRITE.many(sql, rows)


def read(
    sql: sa.Connection, subject: str | None, before: int | None, size: int
) -> list[AuditEntry]:
    """The newest entries, about one object or all, older than entry `before`."""
    query = sa.select(audit).order_by(audit.c.number.desc()).limit(size)
    if subject:
        query = query.where(audit.c.subject == subject)
    if before is not None:
        query = query.where(audit.c.number < before)
    return [_entry(row) for row in sql.execute(query)]


def remember(sql: sa.Connection, asked: RepeatableRequest, made: object, now: int) -> None:
    """Store the result of a request with a key; a simultaneous second request raises Conflict."""
    row = {"caller": asked.caller, "key": asked.key, "created": now}
    row["request"] = _digest(asked.request)
    row["tasks"] = msgspec.json.encode(made).decode()
    sql.execute(sa.insert(idempotency).values(row))


def recall(sql: sa.Connection, asked: RepeatableRequest) -> object:
    """The result of an earlier request.  Raises Conflict for a key of another request."""
    where = (idempotency.c.caller == asked.caller, idempotency.c.key == asked.key)
    row = sql.execute(sa.select(idempotency).where(*where)).one_or_none()
    if row is None:
        return None
    if row.request != _digest(asked.request):
        raise Conflict("Idempotency-Key: was used for another request; send a new key")
    return msgspec.json.decode(row.tasks)


def forget(sql: sa.Connection, now: int) -> None:
    """Delete expired keys."""
    old = sa.select(idempotency.c.caller, idempotency.c.key)
    old = old.where(idempotency.c.created < now - KEPT_MS).limit(500)
    for caller, key in sql.execute(old).all():
        where = (idempotency.c.caller == caller, idempotency.c.key == key)
        sql.execute(sa.delete(idempotency).where(*where))


def _digest(request: bytes) -> str:
    return hashlib.sha256(request).hexdigest()


def _entry(row: Row) -> AuditEntry:
    values = {str(k): v for k, v in row._mapping.items()}
    for name in ("before", "after"):
        values[name] = msgspec.json.decode(values[name]) if values[name] else None
    return msgspec.convert(values, AuditEntry)


def _text(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
