"""Secrets in the database: repository keys, and the check text that identifies a server key."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import destination, key_check

_FIRST = Statement(
    "INSERT INTO key_check (number, sealed) VALUES (1, :sealed) ON CONFLICT (number) DO NOTHING"
)


class Key(NamedTuple):
    """The sealed key of a destination's repository."""

    destination: str
    name: str
    text: str


def keys(sql: sa.Connection) -> list[Key]:
    """The sealed keys of all destinations, by name."""
    columns = (destination.c.guid, destination.c.name, destination.c.sealed_key)
    return [Key(*row) for row in sql.execute(sa.select(*columns).order_by(destination.c.name))]


def check(sql: sa.Connection) -> str | None:
    """The check text that only the server key of this database opens, None for a new database."""
    found: str | None = sql.scalar(sa.select(key_check.c.sealed))
    return found


def keep_check(sql: sa.Connection, text: str, *, replace: bool) -> str:
    """Store the check text, and return the stored text; of several servers the first one succeeds.

    `replace` overwrites an older text.
    """
    if replace:
        sql.execute(sa.delete(key_check))
    _FIRST.run(sql, sealed=text)
    return check(sql) or text
