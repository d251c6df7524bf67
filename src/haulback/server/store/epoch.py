"""The epoch of the database: the number of times that it was restored from a backup."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.server.store import tables
from haulback.server.store.event_tables import event_counter
from haulback.server.store.hold_tables import site
from haulback.server.store.raw_sql import Statement

EPOCH_EVENTS = 1_000_000_000  # more events than any epoch can have; numbers stay below 2^53
_EPOCH = Statement("SELECT epoch FROM site WHERE number = 1")


def current(sql: sa.Connection) -> int:
    """The epoch of the database."""
    row = _EPOCH.row(sql)
    return int(row[0]) if row else 0


def server_of(sql: sa.Connection) -> str:
    """The guid of the server of this database, which owner records name."""
    return str(sql.scalar(sa.select(site.c.server)) or "")


def begin(sql: sa.Connection) -> int:
    """Begin a new epoch and return its number; all sessions of nodes and users end with the old
    epoch.

    Nodes open new sessions with their own credentials.
    """
    sql.execute(sa.update(site).values(epoch=site.c.epoch + 1))
    # Readers may know numbers from after the copy was made, so new events get greater numbers.
    counter = event_counter.c.last
    sql.execute(sa.update(event_counter).values(last=counter + EPOCH_EVENTS))
    sql.execute(sa.update(tables.node).values(session=None, token=None))
    for table in (tables.login, tables.enrolment):
        sql.execute(sa.delete(table))
    return current(sql)
