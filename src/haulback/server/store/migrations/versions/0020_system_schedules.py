"""The order in which machines are proven, and the fires that prove."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the table with the order of proofs, and the columns of fires about proofs and starts."""
    op.create_table(
        "proof_turn",
        sa.Column("entity", sa.String(36), primary_key=True),
        sa.Column("time", sa.BigInteger(), nullable=False),
    )
    op.add_column("fire", sa.Column("last_start", sa.BigInteger()))
    where = sa.text("state = 'PROVING'")
    op.create_index("fire_proving", "fire", ["due_at"], sqlite_where=where, postgresql_where=where)
