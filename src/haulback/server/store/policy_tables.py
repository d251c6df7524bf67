"""The tables of walks over machines, and of the protection that backup policies give their
machines.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table

from haulback.server.store.tables import metadata

_GUID = String(36)

# A walk goes through machines in the order of their guids, in bounded transactions.  A walk that is
# requested again begins anew: `asked` rises, so that the transaction of an older piece is not
# taken for the end of the new walk.
walk = Table(
    "walk",
    metadata,
    Column("kind", String(12), primary_key=True),
    Column("subject", _GUID, primary_key=True),
    Column("since", BigInteger, nullable=False),  # only machines seen since then, epoch ms
    Column("cursor", _GUID, nullable=False),  # the guid of the last machine judged
    Column("asked", BigInteger, nullable=False),
)

# The RPO of a backup policy in ms: the given one, else the one that its schedules give, else NULL.
promise = Table(
    "promise",
    metadata,
    Column("policy", _GUID, primary_key=True),
    Column("active", Boolean, nullable=False),
    Column("rpo", BigInteger),
    Column("recheck", BigInteger, nullable=False),  # the calendar may give another gap from then on
    Index("promise_recheck", "recheck"),
)
