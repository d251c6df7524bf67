"""Keep the reason why a machine has no base for increments, until its next base."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
_GUID = sa.String(36)


def upgrade() -> None:
    """Add the empty table; bases that were given up before have no recorded reason."""
    op.create_table(
        "lost_base",
        sa.Column(
            "entity", _GUID, sa.ForeignKey("entity.guid", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "destination",
            _GUID,
            sa.ForeignKey("destination.guid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("why", sa.Text(), nullable=False),
    )
