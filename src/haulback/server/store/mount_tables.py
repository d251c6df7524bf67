"""The tables of mounts and of file requests to nodes; see `tables`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from haulback.server.store.tables import metadata

_GUID = String(36)

mounted_backup = Table(
    "mounted_backup",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("backup", ForeignKey("backup.guid"), nullable=False),
    Column("entity", ForeignKey("entity.guid"), nullable=False),
    Column("entity_name", String(400), nullable=False),
    Column("node", _GUID, nullable=False),
    Column("mode", String(20), nullable=False),
    Column("state", String(12), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("mounted", BigInteger),
    Column("unmount_at", BigInteger),
    Column("keep", BigInteger, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("found", Text, nullable=False),
    Column("snapshot_time", BigInteger),
    Column("size", BigInteger, nullable=False),
    Column("project", String(80)),
    Column("hypervisor", _GUID),
    Column("machine", String(80)),
    Index("mounted_newest", "created", "guid"),
    Index("mounted_entity", "entity", "created"),
    Index("mounted_of_backup", "backup", "state"),
    Index("mounted_node", "node", "state"),
    Index("mounted_until", "state", "unmount_at"),
)

# A file system of a mount.
mounted_volume = Table(
    "mounted_volume",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("mount", ForeignKey("mounted_backup.guid", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Index("mounted_volume_of", "mount", "number"),
)

# The reports of damage that the mounts of a node may make: `booked` (epoch ms) moves on with each.
damage_allowance = Table(
    "damage_allowance",
    metadata,
    Column("node", ForeignKey("node.guid", ondelete="CASCADE"), primary_key=True),
    Column("booked", BigInteger, nullable=False),
)

# File requests to nodes, and the pieces of their answers.
question = Table(
    "question",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("node", _GUID, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("offered", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("question_node", "node", "offered"),
    Index("question_created", "created"),
)
answer_part = Table(
    "answer_part",
    metadata,
    Column("question", ForeignKey("question.guid", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("last", Boolean, nullable=False),
    Column("error", Text),
)
