"""The table of breakers: destinations that do not answer; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from haulback.server.store.tables import metadata

_GUID = String(36)
_OPEN = text("opened IS NOT NULL")

# A row exists after the first failure; a task that succeeds deletes the row.
destination_breaker = Table(
    "destination_breaker",
    metadata,
    Column("destination", ForeignKey("destination.guid", ondelete="CASCADE"), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("opened", BigInteger),  # NULL while the breaker is closed
    Column("next_try", BigInteger),
    Column("pause", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    # The last CONNECTIVITY_TEST that the server planned for the open breaker.
    Column("test", _GUID),
    Index("breaker_open", "next_try", sqlite_where=_OPEN, postgresql_where=_OPEN),
)
