"""The table of daily reports, and the indexes that reports read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
_SUMMED = ["entity", "destination", "rule", "project", "status", "type", "size", "read", "stored"]


def upgrade() -> None:
    """Add the table and the indexes."""
    op.create_table(
        "daily_report",
        sa.Column("policy", sa.String(36), primary_key=True),
        sa.Column("local_date", sa.String(10), primary_key=True),
        sa.Column("until", sa.BigInteger(), nullable=False),
    )
    op.create_index("backup_report", "backup", ["created", *_SUMMED])
    failed = sa.text("status IN ('FAILED', 'PARTIAL_SUCCESS')")
    op.create_index(
        "backup_failed", "backup", ["created"], sqlite_where=failed, postgresql_where=failed
    )
