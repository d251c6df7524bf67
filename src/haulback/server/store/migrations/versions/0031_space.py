"""The space of destinations, by day and by machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0029"


def upgrade() -> None:
    """Add the tables; the next clean-up of each destination fills them."""
    op.create_table(
        "destination_space",
        _destination(),
        sa.Column("held", sa.BigInteger()),
        sa.Column("living", sa.BigInteger()),
        sa.Column("measured", sa.BigInteger()),
        sa.Column("waits", sa.Text(), nullable=False),
        sa.Column("tested", sa.BigInteger(), nullable=False, server_default="0"),
    )
    full = sa.text("waits <> ''")
    op.create_index(
        "space_full", "destination_space", ["destination"], sqlite_where=full, postgresql_where=full
    )
    op.create_table(
        "destination_day",
        _destination(),
        sa.Column("day", sa.Integer(), primary_key=True),
        sa.Column("used", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "machine_space",
        _destination(),
        sa.Column("entity", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(400), nullable=False),
        sa.Column("unique_bytes", sa.BigInteger(), nullable=False),
        sa.Column("shared_bytes", sa.BigInteger(), nullable=False),
    )


def _destination() -> sa.Column[str]:
    place = sa.ForeignKey("destination.guid", ondelete="CASCADE")
    return sa.Column("destination", sa.String(36), place, primary_key=True)
