"""The tables of events; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, text

from haulback.server.store.tables import metadata

_GUID = String(36)
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

# `id` is given at the insertion, `number` after the commit: see `event_numbers`.
event = Table(
    "event",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("number", BigInteger),
    Column("kind", String(40), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("subject", _GUID, nullable=False),
    Column("subject_name", String(400), nullable=False),
    Column("project", String(80)),
    Column("policy", _GUID),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("once", String(120)),
    Index("event_number", "number", unique=True),
    Index("event_subject", "subject", "number"),
    Index("event_time", "time"),
    sqlite_autoincrement=True,
)
# An event enters the following indexes at most once: with its key, or with its number.
for name, columns, where in (
    ("event_kind", ("kind", "number"), text("number IS NOT NULL")),
    ("event_project", ("project", "number"), text("number IS NOT NULL AND project IS NOT NULL")),
    ("event_policy", ("policy", "number"), text("number IS NOT NULL AND policy IS NOT NULL")),
):
    Index(name, *(event.c[c] for c in columns), sqlite_where=where, postgresql_where=where)
_KEYED = text("once IS NOT NULL")
Index("event_once", event.c.once, unique=True, sqlite_where=_KEYED, postgresql_where=_KEYED)
_UNNUMBERED = text("number IS NULL")
Index("event_new", event.c.id, sqlite_where=_UNNUMBERED, postgresql_where=_UNNUMBERED)

# A single row with the last number of an event. The lock of this row serialises the numbering of
# all servers.
event_counter = Table(
    "event_counter",
    metadata,
    Column("name", String(8), primary_key=True),
    Column("last", BigInteger, nullable=False),
)
