"""The tables of schedules: their clocks, their fires, and the machines that a fire skipped."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from haulback.server.store.tables import metadata

_GUID = String(36)

# The due time of each schedule, so that a tick without due schedules is one index look-up.
schedule_clock = Table(
    "schedule_clock",
    metadata,
    Column("schedule", ForeignKey("record.guid", ondelete="CASCADE"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("times", Text, nullable=False),  # the members that determine due times
    Column("paused", Boolean, nullable=False),
    Column("after", BigInteger, nullable=False),  # due times up to this time are done
    Column("due_at", BigInteger),  # NULL: paused, or without further due times
    Column("last_run", BigInteger),
    Index("schedule_clock_due", "due_at"),
)

# The key decides which server fires a due time.  `voided` is 0 for a fire that counts, and a
# different number for each fire that was voided because the clock was set back.
fire = Table(
    "fire",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("schedule", ForeignKey("record.guid", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("nominal", String(60), nullable=False),
    Column("voided", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("window_end", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("state", String(12), nullable=False),
    Column("manual", Boolean, nullable=False),
    Column("at_rule", Integer, nullable=False),  # the cursor of the planning
    Column("at_entity", _GUID, nullable=False),
    Column("planned", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("reason", Text),
    Column("last_start", BigInteger),  # numbers of the tasks of a completed fire
    UniqueConstraint("schedule", "generation", "nominal", "voided"),
    Index("fire_newest", "schedule", "due_at"),
    Index("fire_due", "due_at"),
    Index("fire_created", "created"),
)
for name, state in (
    ("fire_planning", text("state IN ('PLANNING', 'VOIDING')")),
    ("fire_running", text("state = 'RUNNING'")),
    ("fire_proving", text("state = 'PROVING'")),
):
    Index(name, fire.c.due_at, sqlite_where=state, postgresql_where=state)

# The rules of a fire at its time; `run` is the run of the rule's policy.
fire_rule = Table(
    "fire_rule",
    metadata,
    Column("fire", ForeignKey("fire.guid", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("rule", _GUID, nullable=False),
    Column("policy", _GUID, nullable=False),
    Column("run", _GUID, nullable=False),
)

fire_skip = Table(
    "fire_skip",
    metadata,
    Column("fire", ForeignKey("fire.guid", ondelete="CASCADE"), primary_key=True),
    Column("rule", _GUID, primary_key=True),
    Column("entity", _GUID, primary_key=True),  # "": the whole rule
    Column("name", String(400), nullable=False),
    Column("reason", Text, nullable=False),
)

# The time at which each machine was last chosen to be proven.
proof_turn = Table(
    "proof_turn",
    metadata,
    Column("entity", _GUID, primary_key=True),
    Column("time", BigInteger, nullable=False),
)
