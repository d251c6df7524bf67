"""The tables of events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("number", sa.BigInteger()),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(36), nullable=False),
        sa.Column("subject_name", sa.String(400), nullable=False),
        sa.Column("project", sa.String(80)),
        sa.Column("policy", sa.String(36)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("once", sa.String(120)),
        sqlite_autoincrement=True,
    )
    op.create_index("event_number", "event", ["number"], unique=True)
    op.create_index("event_once", "event", ["once"], unique=True)
    for name in ("project", "kind", "policy", "subject"):
        op.create_index(f"event_{name}", "event", [name, "number"])
    op.create_index("event_time", "event", ["time"])
    new = sa.text("number IS NULL")
    op.create_index("event_new", "event", ["id"], sqlite_where=new, postgresql_where=new)
    op.create_table(
        "event_counter",
        sa.Column("name", sa.String(8), primary_key=True),
        sa.Column("last", sa.BigInteger(), nullable=False),
    )
    op.execute("INSERT INTO event_counter (name, last) VALUES ('event', 0)")
