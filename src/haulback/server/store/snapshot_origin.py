"""Origin of a snapshot on a platform that no record names: its name and the task tell it."""

from __future__ import annotations

import re
from enum import Enum

import sqlalchemy as sa

from haulback.server.store import tables

_NAME = re.compile(
    r"haulback-(?P<task>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<number>[0-9]{1,9})"
)


class Origin(Enum):
    """ABANDONED: by an attempt that ended badly; nobody asked for it any more.

    UNDER_WAY: an attempt of ours may yet say so.  BEFORE: what a machine was before it was put
    back, by an attempt whose end is not known: perhaps the only copy.  FOREIGN: nobody's here; it
    may be another server's, or from before this one's own records were lost.
    """

    ABANDONED = "ABANDONED"
    UNDER_WAY = "UNDER_WAY"
    BEFORE = "BEFORE"
    FOREIGN = "FOREIGN"


def origin(sql: sa.Connection, name: str) -> Origin:
    """Of a snapshot that no record names."""
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
