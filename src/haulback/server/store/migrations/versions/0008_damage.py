"""Damage state of backups, verification progress of destinations, revisions of nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
_GUID = sa.String(36)


def upgrade() -> None:
    """Stored backups count as present; nodes report their revision at their next start."""
    _add("backup", sa.Column("location_status", sa.String(12), server_default="PRESENT"))
    _add("backup", sa.Column("damage", sa.Text(), server_default="{}"))
    _add("destination", sa.Column("verify_state", sa.Text(), server_default="{}"))
    _add("node", sa.Column("revision", sa.Integer(), server_default="1"))
    not_present = sa.text("location_status <> 'PRESENT'")
    op.create_index(
        "backup_not_present",
        "backup",
        ["destination"],
        sqlite_where=not_present,
        postgresql_where=not_present,
    )
    op.create_table(
        "expected_backup",
        sa.Column("task", _GUID, sa.ForeignKey("task.guid", ondelete="CASCADE"), primary_key=True),
        sa.Column("backup", _GUID, primary_key=True),
    )


def _add(table: str, column: sa.Column[object]) -> None:
    column.nullable = False
    op.add_column(table, column)
