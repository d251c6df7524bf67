"""The identity of the server in owner records, and the owner of each destination."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add the columns; a server whose database is new or upgraded gets its guid here."""
    guid = sa.Column("server", sa.String(36), nullable=False, server_default="")
    op.add_column("site", guid)
    op.execute(sa.text("UPDATE site SET server = :guid").bindparams(guid=str(uuid.uuid4())))
    owner = sa.Column("owner", sa.Text(), nullable=False, server_default="{}")
    op.add_column("destination", owner)
