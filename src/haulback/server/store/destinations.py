"""Backup destinations: their sealed repository keys."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.errors import NotFound
from haulback.server.store import tables


def sealed_key(connection: sa.Connection, destination: str) -> str:
    """The sealed repository key.  Raises NotFound."""
    query = sa.select(tables.destination.c.sealed_key)
    found: str | None = connection.scalar(query.where(tables.destination.c.guid == destination))
    if found is None:
        raise NotFound(f"there is no backup destination {destination}", guid=destination)
    return found
