"""Alarms, inventories that wait for a confirmation, and times of absence and unreadability."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
_GUID = sa.String(36)


def upgrade() -> None:
    """Absent machines count as absent from now on, which keeps their last backups longest."""
    op.add_column("entity", sa.Column("absent_since", sa.BigInteger()))
    op.add_column("entity", sa.Column("problem", sa.Text()))
    place = sa.Column("place", sa.Text(), nullable=False, server_default="")
    op.add_column("entity", place)
    absent = sa.text("UPDATE entity SET absent_since = :now WHERE NOT present")
    op.get_bind().execute(absent, {"now": time.time_ns() // 1_000_000})
    _alarms()
    hypervisor = sa.ForeignKey("hypervisor.guid", ondelete="CASCADE")
    op.create_table(
        "doubt",
        sa.Column("hypervisor", _GUID, hypervisor, primary_key=True),
        sa.Column("look", _GUID, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
    )


def _alarms() -> None:
    op.create_table(
        "alarm",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", _GUID, nullable=False),
        sa.Column("subject_name", sa.String(400), nullable=False),
        sa.Column("subject_type", sa.String(20), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("project", sa.String(80)),
    )
    op.create_index("alarm_kind", "alarm", ["kind", "subject"], unique=True)
    op.create_index("alarm_subject", "alarm", ["subject"])
    op.create_index("alarm_newest", "alarm", ["since", "guid"])
