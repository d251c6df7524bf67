"""The tables of evaluations of machines, and of the protection of machines by backup policies."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table

from haulback.server.store.tables import metadata

_GUID = String(36)

# An evaluation goes through machines in the order of their guids, in bounded transactions.  An
# evaluation that is requested again starts from the beginning: `asked` increases, so that the
# transaction of an older piece cannot end the new evaluation.
walk = Table(
    "walk",
    metadata,
    Column("kind", String(12), primary_key=True),
    Column("subject", _GUID, primary_key=True),
    Column("since", BigInteger, nullable=False),  # only machines seen since then, epoch ms
    Column("cursor", _GUID, nullable=False),  # the guid of the last machine that was evaluated
    Column("asked", BigInteger, nullable=False),
)

# The RPO of a backup policy in ms: the requested RPO, or the RPO that its schedules imply, or NULL.
promise = Table(
    "promise",
    metadata,
    Column("policy", _GUID, primary_key=True),
    Column("active", Boolean, nullable=False),
    Column("rpo", BigInteger),
    # After this time the largest gap between due times may differ.
    Column("recheck", BigInteger, nullable=False),
    Index("promise_recheck", "recheck"),
)
