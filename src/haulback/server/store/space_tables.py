"""The tables of the space of destinations; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from haulback.server.store.tables import metadata

_GUID = String(36)
_FULL = text("waits <> ''")

# A row exists after the first task that reported the space of its destination.
destination_space = Table(
    "destination_space",
    metadata,
    Column("destination", ForeignKey("destination.guid", ondelete="CASCADE"), primary_key=True),
    Column("held", BigInteger),  # NULL before a clean-up has measured the repository
    Column("living", BigInteger),
    Column("locked", BigInteger),  # size of packs that no backup needs but the store keeps
    Column("measured", BigInteger),
    Column("waits", Text, nullable=False),  # the reason why new backups wait, or ''
    # time of the last test of a full destination, epoch ms
    Column("tested", BigInteger, nullable=False, server_default="0"),
    Index("space_full", "destination", sqlite_where=_FULL, postgresql_where=_FULL),
)

# The use of a destination at the end of each of the last days.
destination_day = Table(
    "destination_day",
    metadata,
    Column("destination", ForeignKey("destination.guid", ondelete="CASCADE"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("used", BigInteger, nullable=False),
)

# Stored bytes by machine, as the last clean-up found them.
machine_space = Table(
    "machine_space",
    metadata,
    Column("destination", ForeignKey("destination.guid", ondelete="CASCADE"), primary_key=True),
    Column("entity", _GUID, primary_key=True),
    Column("name", String(400), nullable=False),
    Column("unique_bytes", BigInteger, nullable=False),
    Column("shared_bytes", BigInteger, nullable=False),
)


SPACE_TABLES = (destination_space, destination_day, machine_space)
