"""An index for lists of the queue in its order."""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX task_queue ON task (project, rank, guid) "
        "WHERE state = 'QUEUED' AND NOT archived"
    )
