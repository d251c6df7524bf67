"""Copies of backups on other destinations, and the links between destinations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
_REPORTED = ("created", "entity", "destination", "rule", "project", "status", "type", "size")


def upgrade() -> None:
    """Add columns, an index and a table; every existing backup is its own first location."""
    op.add_column("backup", sa.Column("copy_of", sa.String(36)))
    after = sa.Column("heal_after", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("backup", after)
    healable = sa.text("status = 'SUCCESS' AND location_status IN ('DAMAGED', 'MISSING')")
    op.create_index(
        "backup_heal", "backup", ["heal_after"], sqlite_where=healable, postgresql_where=healable
    )
    is_copy = sa.text("copy_of IS NOT NULL")
    op.create_index(
        "backup_copies",
        "backup",
        ["copy_of", "destination"],
        sqlite_where=is_copy,
        postgresql_where=is_copy,
    )
    op.drop_index("backup_report", "backup")
    op.create_index("backup_report", "backup", [*_REPORTED, "read", "stored", "copy_of"])
    op.create_table(
        "copy_link",
        sa.Column("source", sa.String(36), primary_key=True),
        sa.Column("target", sa.String(36), primary_key=True),
        sa.Column("role", sa.String(12), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger()),
    )
    op.create_index("copy_link_due", "copy_link", ["due"])
