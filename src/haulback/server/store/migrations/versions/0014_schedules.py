"""Clocks and fires of schedules; schedules that never fired before are paused at first."""

from __future__ import annotations

import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
_GUID = sa.String(36)
_SERVER = "00000000-0000-0000-0000-000000000000"


def upgrade() -> None:
    """Add the tables, and a paused clock for each schedule."""
    _clocks()
    _fires()
    _pause_all(time.time_ns() // 1_000_000)


def _clocks() -> None:
    schedule = sa.ForeignKey("record.guid", ondelete="CASCADE")
    op.create_table(
        "schedule_clock",
        sa.Column("schedule", _GUID, schedule, primary_key=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("times", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("after", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("last_run", sa.BigInteger()),
    )
    op.create_index("schedule_clock_due", "schedule_clock", ["due_at"])


def _fires() -> None:
    schedule = sa.ForeignKey("record.guid", ondelete="CASCADE")
    op.create_table(
        "fire",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("schedule", _GUID, schedule, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("nominal", sa.String(60), nullable=False),
        sa.Column("voided", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger()),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("manual", sa.Boolean(), nullable=False),
        sa.Column("at_rule", sa.Integer(), nullable=False),
        sa.Column("at_entity", _GUID, nullable=False),
        sa.Column("planned", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.UniqueConstraint("schedule", "generation", "nominal", "voided"),
    )
    op.create_index("fire_newest", "fire", ["schedule", "due_at"])
    op.create_index("fire_due", "fire", ["due_at"])
    op.create_index("fire_created", "fire", ["created"])
    _partial("fire_planning", "state IN ('PLANNING', 'VOIDING')")
    _partial("fire_running", "state = 'RUNNING'")
    fire = sa.ForeignKey("fire.guid", ondelete="CASCADE")
    op.create_table(
        "fire_rule",
        sa.Column("fire", _GUID, fire, primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("rule", _GUID, nullable=False),
        sa.Column("policy", _GUID, nullable=False),
        sa.Column("run", _GUID, nullable=False),
    )
    fire = sa.ForeignKey("fire.guid", ondelete="CASCADE")
    op.create_table(
        "fire_skip",
        sa.Column("fire", _GUID, fire, primary_key=True),
        sa.Column("rule", _GUID, primary_key=True),
        sa.Column("entity", _GUID, primary_key=True),
        sa.Column("name", sa.String(400), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )


def _partial(name: str, state: str) -> None:
    where = sa.text(state)
    op.create_index(name, "fire", ["due_at"], sqlite_where=where, postgresql_where=where)


def _pause_all(now: int) -> None:
    """Pause the existing schedules, which have never fired, and report that in one event."""
    sql = op.get_bind()
    query = sa.text("SELECT guid, name FROM record WHERE kind = 'schedule' ORDER BY name")
    known = [(row.guid, row.name) for row in sql.execute(query)]
    clock = sa.text(
        "INSERT INTO schedule_clock (schedule, generation, times, paused, after) "
        "VALUES (:schedule, 1, '\"\"', :paused, :now)"
    )
    for guid, _ in known:
        sql.execute(clock, {"schedule": guid, "paused": True, "now": now})
    if known:
        _tell(sql, known, now)


def _tell(sql: sa.Connection, known: list[tuple[str, str]], now: int) -> None:
    names = ", ".join(name for _, name in known[:100])
    more = f" and {len(known) - 100} more" if len(known) > 100 else ""
    event = sa.text(
        "INSERT INTO event (kind, time, subject, subject_name, text, data) "
        "VALUES ('SCHEDULES_PAUSED', :now, :subject, 'server', :text, :data)"
    )
    text = (
        f"{len(known)} schedules were made before schedules fired, and are paused: {names}{more}; "
        "look through them, then run haulback schedule resume --all"
    )
    schedules = [{"guid": guid, "name": name} for guid, name in known[:1000]]
    data = json.dumps({"count": len(known), "schedules": schedules})
    sql.execute(event, {"now": now, "subject": _SERVER, "text": text, "data": data})
