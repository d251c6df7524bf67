"""Consistency of backups, and their proofs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Stored backups get the level STORED, the only known level."""
    level = sa.Column("level", sa.String(20), nullable=False, server_default="STORED")
    op.add_column("backup", level)
    op.add_column("backup", sa.Column("consistency", sa.String(20)))
    op.create_table(
        "proof",
        sa.Column("backup", sa.String(36), sa.ForeignKey("backup.guid"), primary_key=True),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
    )
