"""The table of lost increment bases; see `tables`."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table, Text

from haulback.server.store.tables import metadata

# The reason why a machine has no base on a destination; its next base there deletes the row.
lost_base = Table(
    "lost_base",
    metadata,
    Column("entity", ForeignKey("entity.guid", ondelete="CASCADE"), primary_key=True),
    Column("destination", ForeignKey("destination.guid", ondelete="CASCADE"), primary_key=True),
    Column("why", Text, nullable=False),
)
