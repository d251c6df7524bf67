"""The epoch of the database, and the hold of a restored database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the tables, and the first epoch."""
    site = op.create_table(
        "site",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
    )
    op.bulk_insert(site, [{"number": 1, "epoch": 0}])
    op.create_table(
        "hold",
        sa.Column(
            "destination",
            sa.String(36),
            sa.ForeignKey("destination.guid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("copied", sa.BigInteger(), nullable=False),
        sa.Column("looked", sa.BigInteger()),
        sa.Column("unknown", sa.Integer()),
        sa.Column("found", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("reason", sa.Text(), nullable=False),
    )
