"""Configuration records: insertion, change and removal."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.errors import NotFound
from haulback.inventory.records import Record
from haulback.server.store import policy_rpos, rows, schedule_clocks, tables

_RECORD = tables.record


def add(sql: sa.Connection, record: Record) -> None:
    """Insert a record.  Raises Conflict for a name in use."""
    rows.add(sql, _RECORD, record)
    schedule_clocks.follow(sql, record)
    policy_rpos.touch(sql, record)


def change(sql: sa.Connection, record: Record) -> None:
    """Write a record that was read in this transaction.  Raises Conflict for a name in use."""
    before = policy_rpos.before_change(sql, record.guid)
    rows.change(sql, _RECORD, record)
    schedule_clocks.follow(sql, record)
    policy_rpos.touch(sql, record, before)


def locked(sql: sa.Connection, guid: str) -> Record:
    """A record, locked until the end of this transaction.  Raises NotFound."""
    query = sa.select(_RECORD).where(_RECORD.c.guid == guid).with_for_update(key_share=True)
    for record in rows.records(sql, query, Record):
        return record
    raise NotFound(f"there is no record {guid}", guid=guid)


def rename(sql: sa.Connection, guid: str, name: str) -> None:
    """Write only the name of a record."""
    sql.execute(sa.update(_RECORD).where(_RECORD.c.guid == guid).values(name=name))


def hand_down(sql: sa.Connection, parent: Record, kind: str) -> None:
    """Set the project of the records of a kind below a parent to the parent's project."""
    below = (_RECORD.c.kind == kind, _RECORD.c.parent == parent.guid)
    sql.execute(sa.update(_RECORD).where(*below).values(project=parent.project))


def remove(sql: sa.Connection, guid: str) -> None:
    """Delete a record."""
    if before := policy_rpos.before_change(sql, guid):
        policy_rpos.touch(sql, before)
    sql.execute(sa.delete(_RECORD).where(_RECORD.c.guid == guid))
