"""Hardware of machines besides their disks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """The next look at its platform fills it in."""
    column = sa.Column("hardware", sa.Text(), nullable=False, server_default="{}")
    op.add_column("entity", column)
