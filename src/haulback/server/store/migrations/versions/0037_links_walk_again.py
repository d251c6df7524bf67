"""Links of destinations walk once more: earlier walks passed over copies on their source."""

from __future__ import annotations

from alembic import op

revision = "0037"
down_revision = "0032"


def upgrade() -> None:
    """Make the walk of each link due; backups that have their copy are passed over."""
    op.execute("UPDATE copy_link SET due = 0, after = ''")
