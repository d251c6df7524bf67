"""The table of node groups; see `tables`."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table

from haulback.server.store.tables import metadata

_GUID = String(36)

# The groups of nodes that a task's pin may name (`inventory/reach.py`), with a row for each member.
node_group = Table(
    "node_group",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("node", _GUID, primary_key=True),
    Index("node_group_node", "node", "guid"),
)
