"""Objects that were given up, with the key and record that restore a destination."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0033"
_GUID = sa.String(36)
_OPEN = sa.text("ended IS NULL")


def upgrade() -> None:
    """Create the table; no object was given up before."""
    op.create_table(
        "given_up",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("name", sa.String(400), nullable=False),
        sa.Column("begun", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger),
        sa.Column("caller", _GUID, nullable=False),
        sa.Column("login", sa.String(200), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("sealed_key", sa.Text),
        sa.Column("secret", sa.String(64)),
        sa.Column("token", sa.String(64)),
    )
    op.create_index(
        "given_up_open", "given_up", ["begun"], sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    op.create_index("given_up_token", "given_up", ["token"])
