"""The name of a task's subject in a separate column, by which lists filter and sort."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
_ROLES = (
    "protectedEntity",
    "backupDestination",
    "hypervisor",
    "hypervisorManager",
    "storageProvider",
    "node",
)
_MANY = 1000
_LISTED = (
    "created, guid, state, archived, type, node, pinned_node, follows, workflow, project, "
    "entity, backup, destination, hypervisor, manager, storage_provider, mounted_backup, "
    "restore_job, schedule, priority, window_start, window_end, progress, started, finished, "
    "modified, backup_type, cancel_wanted, names, subject"
)


def upgrade() -> None:
    """Add the column, with the names from the references of stored tasks."""
    column: sa.Column[str] = sa.Column("subject", sa.Text(), server_default="", nullable=False)
    op.add_column("task", column)
    task = sa.table("task", *(sa.column(name) for name in ("guid", "refs", "subject")))
    op.drop_index("task_list", "task")
    _name(task)
    op.execute("UPDATE task SET names = substr(names, 1, 290) WHERE length(names) > 290")
    visible = "NOT archived AND state <> 'PLANNED'"
    op.execute(f"CREATE INDEX task_list ON task ({_LISTED}) WHERE {visible}")


def _name(task: sa.TableClause) -> None:
    """Write the subjects of stored tasks, a thousand rows at a time."""
    sql, last = op.get_bind(), ""
    change = (
        sa.update(task)
        .where(task.c.guid == sa.bindparam("which"))
        .values(subject=sa.bindparam("named"))
    )
    while True:
        query = sa.select(task.c.guid, task.c.refs).where(task.c.guid > last)
        rows = sql.execute(query.order_by(task.c.guid).limit(_MANY)).all()
        if not rows:
            return
        sql.execute(change, [{"which": row.guid, "named": _subject(row.refs)} for row in rows])
        last = rows[-1].guid


def _subject(refs: str) -> str:
    known = json.loads(refs)
    found = next((str(known[role].get("name", "")) for role in _ROLES if role in known), "")
    return found.lower()[:100]
