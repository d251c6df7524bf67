"""Tables of links between destinations whose backups are copied; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table

from haulback.server.store.tables import metadata

_GUID = String(36)

# A new link walks once over the backups of its source, machine by machine: `due` (epoch ms) is the
# time of the next piece, NULL after the walk, `after` is the machine at which the walk continues.
copy_link = Table(
    "copy_link",
    metadata,
    Column("source", _GUID, primary_key=True),
    Column("target", _GUID, primary_key=True),
    Column("role", String(12), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger),
    Column("after", _GUID, nullable=False, server_default=""),
    Index("copy_link_due", "due"),
)

# Backups that a link may have to copy: new backups, and backups whose copy failed; `due` in epoch
# ms.
copy_due = Table(
    "copy_due",
    metadata,
    Column("backup", _GUID, primary_key=True),
    Column("due", BigInteger, nullable=False),
    Index("copy_due_time", "due"),
)
