"""An index for lists of any order and filter; a row for checks of writing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
_LISTED = (
    "created, guid, state, archived, type, node, pinned_node, follows, workflow, project, "
    "entity, backup, destination, hypervisor, manager, storage_provider, mounted_backup, "
    "restore_job, schedule, priority, window_start, window_end, progress, started, finished, "
    "modified, backup_type, cancel_wanted, names"
)


def upgrade() -> None:
    """Replace three indexes by one, and limit the lengths of names."""
    op.execute("UPDATE task SET names = substr(names, 1, 400) WHERE length(names) > 400")
    for name in ("task_node", "task_priority", "task_window"):
        op.drop_index(name, "task")
    visible = "NOT archived AND state <> 'PLANNED'"
    op.execute(f"CREATE INDEX task_list ON task ({_LISTED}) WHERE {visible}")
    op.create_table(
        "pulse",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
    )
