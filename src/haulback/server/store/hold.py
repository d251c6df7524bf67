"""The hold of a restored database: no schedules and deletions run during the hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.contract.verify import UnknownBackup
from haulback.server.store import tables
from haulback.server.store.hold_tables import hold as table
from haulback.server.store.raw_sql import Statement
from haulback.server.store.rows import json_text, records

_HELD = Statement("SELECT 1 FROM hold LIMIT 1")


class HeldDestination(msgspec.Struct, kw_only=True):
    """The hold of one destination.  Times in epoch ms.

    `copied` is the time of the restored copy of the database; `looked` is the end of the VERIFY
    that compared catalogue and store, None before that; `unknown` is the number of its backups that
    the catalogue does not know, `found` lists the first of them.
    """

    destination: str
    name: str
    since: int
    copied: int
    looked: int | None = None
    unknown: int | None = None
    found: list[UnknownBackup] = []
    reason: str


def is_held(sql: sa.Connection) -> bool:
    """Whether the server is held: no schedule, retention, clean-up or deletion may run."""
    return _HELD.row(sql) is not None


def begin(sql: sa.Connection, now: int, copied: int, reason: str) -> None:
    """Hold the server until each of its destinations was compared; a present hold begins again."""
    sql.execute(sa.delete(table))
    values = (sa.literal(now), sa.literal(copied), sa.literal(reason))
    each = sa.select(tables.destination.c.guid, *values)
    sql.execute(sa.insert(table).from_select(["destination", "since", "copied", "reason"], each))


class ComparisonResult(NamedTuple):
    """The end of a comparison (epoch ms), the number of unknown backups, and some of them."""

    ended: int
    unknown: int
    first: Sequence[UnknownBackup] = ()


def looked(sql: sa.Connection, destination: str, look: ComparisonResult, *, since: int) -> None:
    """Record that a VERIFY which began during the hold, at `since`, compared catalogue and
    store.
    """
    row = sa.update(table).where(table.c.destination == destination, table.c.since <= since)
    values = {"looked": look.ended, "unknown": look.unknown, "found": json_text(look.first)}
    sql.execute(row.values(values))


def is_looked_through(sql: sa.Connection) -> bool:
    """Whether every held destination was compared."""
    waiting = sa.select(table.c.destination).where(table.c.looked.is_(None)).limit(1)
    return sql.scalar(waiting) is None


def lift(sql: sa.Connection) -> int:
    """End the hold; returns the number of held destinations."""
    return sql.execute(sa.delete(table)).rowcount


def destinations(sql: sa.Connection) -> list[HeldDestination]:
    """The held destinations ordered by name; their number is small."""
    name = tables.destination.c.name
    query = sa.select(table, name).join(tables.destination).order_by(name)
    return records(sql, query, HeldDestination)
