"""The table of objects that were given up; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text, text

from haulback.server.store.tables import metadata

_GUID = String(36)
_OPEN = text("ended IS NULL")

# A node, destination, hypervisor or machine that is lost for good.  `ended` is NULL while a part of
# the work is left.  A destination keeps its record and its sealed key here, so that its repository
# can be read if it is found again; a node keeps its secret, so that the server recognises the node.
given_up = Table(
    "given_up",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("kind", String(12), nullable=False),
    Column("name", String(400), nullable=False),
    Column("begun", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("caller", _GUID, nullable=False),
    Column("login", String(200), nullable=False),
    Column("why", Text, nullable=False),  # the reason that its ended tasks show
    Column("record", Text, nullable=False),
    Column("sealed_key", Text),
    Column("secret", String(64)),
    Column("token", String(64)),
    Index("given_up_open", "begun", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("given_up_token", "token"),
)
