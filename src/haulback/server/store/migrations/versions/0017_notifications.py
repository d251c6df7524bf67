"""The tables of notifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_GUID = sa.String(36)


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "delivery",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("channel", _GUID, nullable=False),
        sa.Column("channel_name", sa.String(400), nullable=False),
        sa.Column("type", sa.String(12), nullable=False),
        sa.Column("rule", _GUID),
        sa.Column("rule_name", sa.String(400)),
        sa.Column("project", sa.String(80)),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(400), nullable=False),
        sa.Column("message", sa.Text()),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("finished", sa.BigInteger()),
        sa.Column("status_info", sa.Text()),
    )
    op.create_index("delivery_created", "delivery", ["created"])
    op.create_index("delivery_channel", "delivery", ["channel", "created"])
    op.create_index("delivery_finished", "delivery", ["finished"])
    collects = sa.text("state = 'COLLECTING'")
    op.create_index(
        "delivery_digest",
        "delivery",
        ["rule", "channel"],
        unique=True,
        sqlite_where=collects,
        postgresql_where=collects,
    )
    is_open = sa.text("state IN ('COLLECTING', 'WAITING', 'SENDING')")
    op.create_index(
        "delivery_due", "delivery", ["due"], sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_table(
        "delivery_event",
        sa.Column(
            "delivery", _GUID, sa.ForeignKey("delivery.guid", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
    )
    op.create_table(
        "first_run",
        sa.Column("policy", _GUID, primary_key=True),
        sa.Column("run", _GUID, nullable=False),
    )
