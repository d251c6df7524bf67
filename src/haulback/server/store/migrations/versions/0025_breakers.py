"""Breakers of destinations, and an index of ready tasks by destination."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add the table and the index; every breaker is closed at first."""
    op.create_table(
        "destination_breaker",
        sa.Column(
            "destination",
            sa.String(36),
            sa.ForeignKey("destination.guid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("opened", sa.BigInteger()),
        sa.Column("next_try", sa.BigInteger()),
        sa.Column("pause", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("test", sa.String(36)),
    )
    open_only = sa.text("opened IS NOT NULL")
    op.create_index(
        "breaker_open",
        "destination_breaker",
        ["next_try"],
        sqlite_where=open_only,
        postgresql_where=open_only,
    )
    ready = sa.text("ready")
    op.create_index(
        "task_ready_at",
        "task",
        ["lane", "pinned_node", "destination", "rank"],
        sqlite_where=ready,
        postgresql_where=ready,
    )
