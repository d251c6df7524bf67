"""The policies of machines as columns, and the table of walks over machines."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
_ENTITY = sa.table(
    "entity",
    *(sa.column(name) for name in ("guid", "settings", "backup_policy", "snapshot_policy")),
)
_MANY = 1000


def upgrade() -> None:
    """Add the columns with their indexes, fill them from the settings, add the table."""
    for column in ("backup_policy", "snapshot_policy"):
        op.add_column("entity", sa.Column(column, sa.String(36)))
    _fill(op.get_bind())
    for column in ("backup_policy", "snapshot_policy"):
        op.create_index(f"entity_{column}", "entity", [column, "guid"])
    op.create_table(
        "walk",
        sa.Column("kind", sa.String(12), primary_key=True),
        sa.Column("subject", sa.String(36), primary_key=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.String(36), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
    )


def _fill(sql: sa.Connection) -> None:
    column, after = _ENTITY.c, ""
    named = sa.select(column.guid, column.settings).where(column.settings.contains("Policy"))
    while rows := sql.execute(
        named.where(column.guid > after).order_by(column.guid).limit(_MANY)
    ).all():
        for row in rows:
            values = _policies(json.loads(row.settings))
            sql.execute(sa.update(_ENTITY).where(column.guid == row.guid).values(**values))
        after = rows[-1].guid


def _policies(settings: dict[str, Any]) -> dict[str, str | None]:
    names = {"backup_policy": "backupPolicy", "snapshot_policy": "snapshotPolicy"}
    return {column: settings.get(member) for column, member in names.items()}
