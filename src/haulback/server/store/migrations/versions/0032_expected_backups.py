"""The list of expected backups is stored in the order in which a clean-up fills it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
_GUID = sa.String(36)


def upgrade() -> None:
    """Create the table again with the machine in its key; running tasks keep their lists."""
    op.execute(
        "CREATE TABLE expected_before AS SELECT expected_backup.task, backup.entity, backup.guid "
        "FROM expected_backup JOIN backup ON backup.guid = expected_backup.backup"
    )
    op.drop_table("expected_backup")
    op.create_table(
        "expected_backup",
        sa.Column("task", _GUID, sa.ForeignKey("task.guid", ondelete="CASCADE"), primary_key=True),
        sa.Column("entity", _GUID, primary_key=True),
        sa.Column("backup", _GUID, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO expected_backup SELECT task, entity, guid FROM expected_before")
    op.drop_table("expected_before")
