"""Bytes under an object lock in the space of a destination; every copy link checks all backups
again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0035"


def upgrade() -> None:
    """Add a column, which the next clean-up of each destination fills."""
    op.add_column("destination_space", sa.Column("locked", sa.BigInteger()))
    walk_again()


def walk_again() -> None:
    """Make the walk of each link due, because walks of an earlier version skipped copies.

    Backups that have their copy are skipped now.
    """
    op.execute("UPDATE copy_link SET due = 0, after = ''")
