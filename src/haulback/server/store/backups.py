"""Backups as users change them, and the proofs of backups."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from haulback.errors import Conflict
from haulback.server.store import tables
from haulback.wire import JsonObject

_BACKUP = tables.backup


class StoredProof(NamedTuple):
    """The signed evidence of a boot; `time` in epoch ms."""

    time: int
    evidence: str
    signature: str


def write(sql: sa.Connection, guid: str, values: JsonObject) -> None:
    """Write only these columns, because a task may change the state of the backup at the same
    time.
    """
    sql.execute(sa.update(_BACKUP).where(_BACKUP.c.guid == guid).values(**values))


def mark(sql: sa.Connection, guid: str, values: JsonObject) -> None:
    """Write the retention mark of a stored backup.

    Raises Conflict if another transaction has removed the backup.
    """
    stored = (_BACKUP.c.guid == guid, _BACKUP.c.status.in_(("SUCCESS", "PARTIAL_SUCCESS")))
    if not sql.execute(sa.update(_BACKUP).where(*stored).values(**values)).rowcount:
        raise Conflict(
            f"backup {guid} was removed during the request; only a stored backup can be marked"
        )


def proof(sql: sa.Connection, guid: str) -> StoredProof | None:
    """The evidence of the last successful boot of a backup, None without one."""
    table = tables.proof.c
    query = sa.select(table.time, table.evidence, table.signature).where(table.backup == guid)
    row = sql.execute(query).one_or_none()
    return StoredProof(*row) if row else None


def has_backups(sql: sa.Connection, machine: str) -> bool:
    """Whether a machine has any record of a backup."""
    query = sa.select(_BACKUP.c.guid).where(_BACKUP.c.entity == machine).limit(1)
    return sql.scalar(query) is not None


def first_stored(sql: sa.Connection, destination: str) -> int:
    """The time (epoch ms) of the first stored backup of a destination, 0 without one."""
    query = sa.select(sa.func.min(_BACKUP.c.stored_time))
    return int(sql.scalar(query.where(_BACKUP.c.destination == destination)) or 0)
