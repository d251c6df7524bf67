"""Hypervisors and destinations that several nodes reach, and the groups of these nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the columns and the groups; every hypervisor and destination keeps the node that reaches
    it.
    """
    for table in ("hypervisor", "destination"):
        op.add_column(table, sa.Column("nodes", sa.Text(), nullable=False, server_default="[]"))
    op.create_table(
        "node_group",
        sa.Column("guid", sa.String(36), primary_key=True),
        sa.Column("node", sa.String(36), primary_key=True),
    )
    op.create_index("node_group_node", "node_group", ["node", "guid"])
    op.create_index("node_seen", "node", ["seen"])
