"""The origin of a snapshot that no record names, derived from its name and the attempt's task."""

from __future__ import annotations

import re
from enum import Enum

import sqlalchemy as sa

from haulback.server.store import tables

_NAME = re.compile(
    r"haulback-(?P<task>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<number>[0-9]{1,9})"
)


class Origin(Enum):
    """ABANDONED: taken by a failed attempt; no task needs the snapshot.

    UNDER_WAY: a running attempt may still report the snapshot.  BEFORE: the state before a revert
    whose end is unknown: perhaps the only copy of that state.  FOREIGN: not taken by an attempt of
    this server; it may belong to another server or to lost records.
    """

    ABANDONED = "ABANDONED"
    UNDER_WAY = "UNDER_WAY"
    BEFORE = "BEFORE"
    FOREIGN = "FOREIGN"


def origin(sql: sa.Connection, name: str) -> Origin:
    """The origin of a snapshot that no record names."""
    match = _NAME.fullmatch(name)
    table = tables.task.c
    query = sa.select(table.type, table.state, table.attempt)
    row = sql.execute(query.where(table.guid == match["task"])).one_or_none() if match else None
    if match is None or row is None:
        return Origin.FOREIGN
    over = row.attempt > int(match["number"]) or row.state in ("FAILED", "CANCELLED")
    if not over:
        return Origin.UNDER_WAY
    return Origin.ABANDONED if row.type == "SNAPSHOT" else Origin.BEFORE
