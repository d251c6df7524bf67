"""Retention per location: role and terms of each backup, and the work of retention."""

from __future__ import annotations

import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
_MANY = 1000
_JUDGED = (
    "destination, entity, guid, location, role, rule, type, created, snapshot_time, hint, "
    "keep_until, location_status, level, terms, stored"
)


def upgrade() -> None:
    """Add columns, indexes and tables; older retention settings wait for a confirmation."""
    op.add_column(
        "backup", sa.Column("role", sa.String(12), nullable=False, server_default="PRIMARY")
    )
    op.add_column("backup", sa.Column("terms", sa.String(64)))
    op.add_column("backup", sa.Column("lock_until", sa.BigInteger()))
    op.execute("UPDATE backup SET lock_until = keep_until WHERE hint <> 'ARCHIVE'")
    op.execute(f"CREATE INDEX backup_judged ON backup ({_JUDGED}) WHERE status = 'SUCCESS'")
    op.execute(
        "CREATE INDEX backup_of_rule ON backup (rule, destination, entity) "
        "WHERE status = 'SUCCESS' AND rule IS NOT NULL"
    )
    op.create_table(
        "retention_terms",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "retention_wait",
        sa.Column("rule", sa.String(36), primary_key=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.BigInteger()),
    )
    op.create_table(
        "retention_due",
        *(
            sa.Column(name, sa.String(36), primary_key=True)
            for name in ("destination", "entity", "rule")
        ),
        sa.Column("since", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "retention_state",
        sa.Column("destination", sa.String(36), primary_key=True),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("reclaim_at", sa.BigInteger()),
        sa.Column("reclaim_since", sa.BigInteger()),
    )
    _hold_rules()
    _hold_destinations()


def _hold_destinations() -> None:
    """Let the retention of every destination with settings and stored backups wait for a
    confirmation.
    """
    sql, now = op.get_bind(), time.time_ns() // 1_000_000
    wait = sa.table("retention_wait", sa.column("rule"), sa.column("since"))
    query = sa.text(
        "SELECT guid, settings FROM destination WHERE EXISTS (SELECT 1 FROM backup "
        "WHERE backup.status = 'SUCCESS' AND backup.destination = destination.guid)"
    )
    for row in sql.execute(query).all():
        if json.loads(row.settings or "{}").get("retention"):
            sql.execute(sa.insert(wait).values(rule=row.guid, since=now))


def _hold_rules() -> None:
    """Let the retention of every stored rule with settings wait for a confirmation, a thousand
    rules at a time.
    """
    sql, last, now = op.get_bind(), "", time.time_ns() // 1_000_000
    record = sa.table("record", *(sa.column(name) for name in ("guid", "kind", "body")))
    wait = sa.table("retention_wait", sa.column("rule"), sa.column("since"))
    while True:
        query = sa.select(record.c.guid, record.c.body).where(
            record.c.kind == "rule", record.c.guid > last
        )
        rows = sql.execute(query.order_by(record.c.guid).limit(_MANY)).all()
        if not rows:
            return
        held = [{"rule": row.guid, "since": now} for row in rows if _has_settings(row.body)]
        if held:
            sql.execute(sa.insert(wait), held)
        last = rows[-1].guid


def _has_settings(body: str) -> bool:
    targets = json.loads(body).get("ruleBackupDestinations") or []
    return any(target.get("backupRetentionSettings") for target in targets)
