"""The protection of machines, and the RPO that policies promise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0020"


def upgrade() -> None:
    """Add columns, indexes and the table; walks over all policies judge their machines."""
    state = sa.Column("protection", sa.String(12), nullable=False, server_default="UNASSIGNED")
    op.add_column("entity", state)
    op.add_column("entity", sa.Column("protection_since", sa.BigInteger()))
    op.add_column("entity", sa.Column("protection_due", sa.BigInteger()))
    op.create_index("entity_protection", "entity", ["protection", "name", "guid"])
    op.create_index("entity_protection_due", "entity", ["protection_due"])
    op.create_table(
        "promise",
        sa.Column("policy", sa.String(36), primary_key=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("rpo", sa.BigInteger()),
        sa.Column("recheck", sa.BigInteger(), nullable=False),
    )
    op.create_index("promise_recheck", "promise", ["recheck"])
    op.execute(
        "INSERT INTO promise (policy, active, recheck) "
        "SELECT guid, true, 0 FROM record WHERE kind = 'vm-backup'"
    )
    op.execute("UPDATE entity SET protection_due = 0 WHERE backup_policy IS NOT NULL")
