"""The tables of the server's own state: the epoch of its database, and the hold; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String, Table, Text

from haulback.server.store.tables import metadata

_GUID = String(36)

# A single row: the epoch grows by one each time the database is restored from a backup.
site = Table(
    "site",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    # The guid of the server in owner records.
    Column("server", _GUID, nullable=False, server_default=""),
)

# A row for each held destination of a restored database; without rows there is no hold.
hold = Table(
    "hold",
    metadata,
    Column("destination", ForeignKey("destination.guid", ondelete="CASCADE"), primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("copied", BigInteger, nullable=False),  # time of the restored copy
    Column("looked", BigInteger),  # end of the VERIFY that compared catalogue and store
    Column("unknown", Integer),  # number of backups on the store that the catalogue does not know
    Column("found", Text, nullable=False, server_default="[]"),  # the first of these backups
    Column("reason", Text, nullable=False),
)
