"""The tables of notifications: messages, the events of each, and first runs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from haulback.server.store.tables import metadata

_GUID = String(36)

# Messages stay after the removal of their rule and channel, as a log of notifications.
delivery = Table(
    "delivery",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("channel", _GUID, nullable=False),
    Column("channel_name", String(400), nullable=False),
    Column("type", String(12), nullable=False),
    Column("rule", _GUID),
    Column("rule_name", String(400)),
    Column("project", String(80)),
    Column("state", String(12), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger, nullable=False),  # next attempt, end of a digest, or end of a lease
    Column("attempts", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("title", String(400), nullable=False),
    Column("message", Text),  # NULL: computed from the events when the message is sent
    Column("log", Text, nullable=False),
    Column("finished", BigInteger),
    Column("status_info", Text),
    Index("delivery_created", "created"),
    Index("delivery_channel", "channel", "created"),
    Index("delivery_finished", "finished"),
)
_COLLECTS = text("state = 'COLLECTING'")
Index(
    "delivery_digest",
    delivery.c.rule,
    delivery.c.channel,
    unique=True,
    sqlite_where=_COLLECTS,
    postgresql_where=_COLLECTS,
)
_OPEN = text("state IN ('COLLECTING', 'WAITING', 'SENDING')")
Index("delivery_due", delivery.c.due, sqlite_where=_OPEN, postgresql_where=_OPEN)

delivery_event = Table(
    "delivery_event",
    metadata,
    Column("delivery", ForeignKey("delivery.guid", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
)

# The key decides which run of a policy was its first run.
first_run = Table(
    "first_run",
    metadata,
    Column("policy", _GUID, primary_key=True),
    Column("run", _GUID, nullable=False),
)
