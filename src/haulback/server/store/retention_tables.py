"""Tables of retention; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table, Text

from haulback.server.store.tables import metadata

_GUID = String(36)

# Retention terms under which backups were made; backups name them by key, a hash of the body.
retention_terms = Table(
    "retention_terms",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)

# Rules and destinations of an earlier version, whose retention waits for a confirmation; `rule` is
# the guid of the rule or destination, `told` the time of the alarm.
retention_wait = Table(
    "retention_wait",
    metadata,
    Column("rule", _GUID, primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("told", BigInteger),
)

# Machines with a new backup of a rule, whose older backups have not been judged since.
retention_due = Table(
    "retention_due",
    metadata,
    Column("destination", _GUID, primary_key=True),
    Column("entity", _GUID, primary_key=True),
    Column("rule", _GUID, primary_key=True),
    Column("since", BigInteger, nullable=False),
)

# Retention of a destination: the time of the last nightly clean-up, and of the next attempt to plan
# a clean-up of removed backups, which waits while backups are stored there; `since` is the time of
# the removal.
retention_state = Table(
    "retention_state",
    metadata,
    Column("destination", _GUID, primary_key=True),
    Column("planned", BigInteger, nullable=False),
    Column("reclaim_at", BigInteger),
    Column("reclaim_since", BigInteger),
)
