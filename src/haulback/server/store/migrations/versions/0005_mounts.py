"""Mounts, their file systems, and file requests to nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
_GUID = sa.String(36)


def upgrade() -> None:
    """Add the tables of mounts; existing backups have no list of file systems."""
    volumes = sa.Column("volumes", sa.Text(), nullable=False, server_default="[]")
    op.add_column("backup", volumes)
    _mounts()
    _questions()


def _mounts() -> None:
    op.create_table(
        "mounted_backup",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("backup", _GUID, sa.ForeignKey("backup.guid"), nullable=False),
        sa.Column("entity", _GUID, sa.ForeignKey("entity.guid"), nullable=False),
        sa.Column("entity_name", sa.String(400), nullable=False),
        sa.Column("node", _GUID, nullable=False),
        sa.Column("mode", sa.String(20), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("mounted", sa.BigInteger()),
        sa.Column("unmount_at", sa.BigInteger()),
        sa.Column("keep", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("snapshot_time", sa.BigInteger()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.String(80)),
        sa.Column("hypervisor", _GUID),
        sa.Column("machine", sa.String(80)),
    )
    for name, columns in (
        ("mounted_newest", ["created", "guid"]),
        ("mounted_entity", ["entity", "created"]),
        ("mounted_of_backup", ["backup", "state"]),
        ("mounted_node", ["node", "state"]),
        ("mounted_until", ["state", "unmount_at"]),
    ):
        op.create_index(name, "mounted_backup", columns)
    mount = sa.ForeignKey("mounted_backup.guid", ondelete="CASCADE")
    op.create_table(
        "mounted_volume",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("mount", _GUID, mount, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("mounted_volume_of", "mounted_volume", ["mount", "number"])


def _questions() -> None:
    op.create_table(
        "question",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("node", _GUID, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("offered", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("question_node", "question", ["node", "offered"])
    op.create_index("question_created", "question", ["created"])
    question = sa.ForeignKey("question.guid", ondelete="CASCADE")
    op.create_table(
        "answer_part",
        sa.Column("question", _GUID, question, primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text()),
    )
