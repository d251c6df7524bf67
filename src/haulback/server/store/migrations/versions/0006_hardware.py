"""Hardware of machines besides their disks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; the next inventory fills it."""
    column = sa.Column("hardware", sa.Text(), nullable=False, server_default="{}")
    op.add_column("entity", column)
