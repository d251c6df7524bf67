"""Sealed keys of given-up destinations, kept until their repositories are read again."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.server.store.given_up_tables import given_up as table
from haulback.server.store.rows import json_text
from haulback.wire import JsonObject

DESTINATION = "destination"  # kind of the rows of `given_up` that hold keys
_EARLIER = "earlier"  # repositories of earlier destinations of this guid that the same key opens
_TRIED = "tried"  # time (epoch ms) at which a new destination last received the key
_COLUMNS = (table.c.guid, table.c.begun, table.c.record, table.c.sealed_key)


class GivenUpKey(NamedTuple):
    """The key of a destination that was given up at `begun`; `tried` 0: no destination received it.

    `record` is the destination before its removal.  Times are epoch ms.
    """

    guid: str
    sealed: str
    record: JsonObject
    begun: int
    tried: int


def of_driver(sql: sa.Connection, driver: str) -> list[GivenUpKey]:
    """The kept keys of the destinations of a driver."""
    ended = (table.c.kind == DESTINATION, table.c.ended.is_not(None))
    query = sa.select(*_COLUMNS).where(*ended, table.c.sealed_key.is_not(None))
    keys = [_key(row) for row in sql.execute(query)]
    return [key for key in keys if key.record.get("driver") == driver]


def is_kept(sql: sa.Connection, guid: str) -> bool:
    """Whether the key of the given-up destination with this guid is kept."""
    here = (table.c.guid == guid, table.c.kind == DESTINATION, table.c.sealed_key.is_not(None))
    return sql.scalar(sa.select(table.c.guid).where(*here)) is not None


def note_trial(sql: sa.Connection, guid: str, now: int) -> None:
    """Record that a new destination received a key, so that the next one receives another key."""
    record = _record(sql, guid)
    _write(sql, guid, record | {_TRIED: now})


def with_earlier(sql: sa.Connection, guid: str, record: JsonObject) -> JsonObject:
    """The record of a given-up destination, with earlier given-up repositories of its guid that
    were not read again.
    """
    before = _waiting(_record(sql, guid))
    earlier = [repository for repository in before if repository != record.get("repository")]
    return record | {_EARLIER: earlier} if earlier else record


def read_again(sql: sa.Connection, repository: str) -> None:
    """Delete the kept keys of a repository that a destination has opened with its own key.

    A key that also opens another repository stays.
    """
    named = table.c.record.contains(repository, autoescape=True)
    query = sa.select(*_COLUMNS).where(table.c.kind == DESTINATION, named)
    for row in sql.execute(query).all():
        record = msgspec.json.decode(row.record)
        waiting = _waiting(record)
        if repository not in waiting:
            continue
        if left := [other for other in waiting if other != repository]:
            _write(sql, row.guid, record | {"repository": left[0], _EARLIER: left[1:]})
        else:
            sql.execute(sa.delete(table).where(table.c.guid == row.guid))


def _waiting(record: JsonObject) -> list[str]:
    """The repositories of a record that no destination has read again."""
    return [guid for guid in (record.get("repository"), *record.get(_EARLIER, ())) if guid]


def _key(row: Any) -> GivenUpKey:
    record = msgspec.json.decode(row.record)
    return GivenUpKey(row.guid, row.sealed_key, record, row.begun, record.get(_TRIED, 0))


def _record(sql: sa.Connection, guid: str) -> JsonObject:
    text = sql.scalar(sa.select(table.c.record).where(table.c.guid == guid))
    record: JsonObject = msgspec.json.decode(text) if text else {}
    return record


def _write(sql: sa.Connection, guid: str, record: JsonObject) -> None:
    values = {"record": json_text(record)}
    sql.execute(sa.update(table).where(table.c.guid == guid).values(values))
