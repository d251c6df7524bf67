"""Results of the probes of the stores of destinations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the column; a destination that was never probed has no results."""
    column = sa.Column("probe", sa.Text(), nullable=False, server_default="{}")
    op.add_column("destination", column)
