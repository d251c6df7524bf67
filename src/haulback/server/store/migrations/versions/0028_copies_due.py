"""Backups that may lack a copy, and the machine at which the walk of a link continues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add a table, a column and an index; the links of an earlier version repeat their walk."""
    after = sa.Column("after", sa.String(36), nullable=False, server_default="")
    op.add_column("copy_link", after)
    op.create_table(
        "copy_due",
        sa.Column("backup", sa.String(36), primary_key=True),
        sa.Column("due", sa.BigInteger(), nullable=False),
    )
    op.create_index("copy_due_time", "copy_due", ["due"])
    op.execute("UPDATE copy_link SET due = 0")
    is_first = sa.text("copy_of IS NULL")
    op.create_index(
        "backup_first",
        "backup",
        ["created", "guid"],
        sqlite_where=is_first,
        postgresql_where=is_first,
    )
