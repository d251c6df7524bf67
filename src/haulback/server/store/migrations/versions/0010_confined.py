"""Projects of API tokens and names of records, the check of the server key, requested windows."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Windows of waiting tasks count as requested if they begin after the task's creation.

    Make each project record belong to its own project.
    """
    op.add_column("task", sa.Column("asked_start", sa.BigInteger()))
    op.execute(
        "UPDATE task SET asked_start = window_start WHERE state IN ('QUEUED', 'PLANNED') "
        "AND window_start > created AND retry_count = tries AND follows IS NULL"
    )
    op.add_column("api_token", sa.Column("projects", sa.Text()))
    op.drop_index("record_name", "record")
    op.create_index("record_name", "record", ["kind", "parent", "project", "name"], unique=True)
    shared = sa.text("project IS NULL")
    op.create_index(
        "record_shared_name",
        "record",
        ["kind", "parent", "name"],
        unique=True,
        sqlite_where=shared,
        postgresql_where=shared,
    )
    op.create_table(
        "key_check",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("sealed", sa.Text(), nullable=False),
    )
    _own_projects()
    # Logs and results of tasks on shared destinations are for callers of all projects.
    op.execute(
        "UPDATE task SET project = NULL WHERE type IN ('BACKUP_CLEANUP', 'VERIFY', 'REPAIR', "
        "'BACKUP_DESTINATION_INIT', 'INVENTORY_SYNC')"
    )


def _own_projects() -> None:
    record = sa.table("record", sa.column("guid"), sa.column("kind"), sa.column("body"))
    record.append_column(sa.column("project"))
    query = sa.select(record.c.guid, record.c.body).where(record.c.kind == "project")
    for guid, body in op.get_bind().execute(query).all():
        uuid = str(msgspec.json.decode(body).get("uuid", ""))[:80]
        if uuid:
            change = sa.update(record).where(record.c.guid == guid).values(project=uuid)
            op.get_bind().execute(change)
