"""A limit on the reports of damage that the mounts of a node make."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Add the table; a node has its whole allowance at first."""
    node = sa.ForeignKey("node.guid", ondelete="CASCADE")
    op.create_table(
        "damage_allowance",
        sa.Column("node", sa.String(36), node, primary_key=True),
        sa.Column("booked", sa.BigInteger(), nullable=False),
    )
