"""Snapshots that stay on the platform."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add an empty table of snapshots."""
    guid = sa.String(36)
    op.create_table(
        "snapshot",
        sa.Column("guid", guid, primary_key=True),
        sa.Column("entity", guid, sa.ForeignKey("entity.guid"), nullable=False),
        sa.Column("uuid", sa.String(200), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_time", sa.BigInteger(), nullable=False),
        sa.Column("managed", sa.Boolean(), nullable=False),
        sa.Column("consistency", sa.String(20)),
        sa.Column("description", sa.Text()),
        sa.Column("rule", guid),
        sa.Column("policy", guid),
        sa.Column("project", sa.String(80)),
    )
    op.create_index("snapshot_entity", "snapshot", ["entity", "uuid"], unique=True)
    op.create_index("snapshot_uuid", "snapshot", ["uuid"])
    op.create_index("snapshot_newest", "snapshot", ["snapshot_time", "guid"])
    op.create_index("snapshot_project", "snapshot", ["project", "snapshot_time"])
