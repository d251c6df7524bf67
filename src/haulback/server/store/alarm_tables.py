"""The tables of alarms and of inventories that wait for a confirmation; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, String, Table, Text

from haulback.server.store.tables import metadata

_GUID = String(36)

alarm = Table(
    "alarm",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("subject", _GUID, nullable=False),
    Column("subject_name", String(400), nullable=False),
    Column("subject_type", String(20), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("project", String(80)),
    Index("alarm_kind", "kind", "subject", unique=True),
    Index("alarm_subject", "subject"),
    Index("alarm_newest", "since", "guid"),
)

# The last inventory of a hypervisor that waits for a confirmation: its workflow (`look`), the time
# of its record (`seen`), and the start of the doubt.  The machines in doubt are the present
# machines with `absent_since`.
doubt = Table(
    "doubt",
    metadata,
    Column("hypervisor", ForeignKey("hypervisor.guid", ondelete="CASCADE"), primary_key=True),
    Column("look", _GUID, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
)
