"""The table of destinations that are copied as a whole; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table

from haulback.server.store.tables import metadata

_GUID = String(36)

# `due` (epoch ms): when to look for backups of the source that the target lacks; NULL: all have a
# copy, until the next STORE at the source.
copy_link = Table(
    "copy_link",
    metadata,
    Column("source", _GUID, primary_key=True),
    Column("target", _GUID, primary_key=True),
    Column("role", String(12), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger),
    Index("copy_link_due", "due"),
)
