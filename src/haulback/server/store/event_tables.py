"""The table of events; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from haulback.server.store.tables import metadata

_GUID = String(36)

event = Table(
    "event",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("subject", _GUID, nullable=False),
    Column("subject_name", String(400), nullable=False),
    Column("project", String(80)),
    Column("policy", _GUID),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False),
    Index("event_time", "time"),
)
