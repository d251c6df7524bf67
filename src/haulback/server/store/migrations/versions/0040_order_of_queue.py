"""An index for lists of the queue in its order, and shorter indexes of events."""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    """Add the index of the queue; four indexes of events leave out the events without a value."""
    op.execute(
        "CREATE INDEX task_queue ON task (project, rank, guid) "
        "WHERE state = 'QUEUED' AND NOT archived"
    )
    op.drop_index("event_once", "event")
    op.execute("CREATE UNIQUE INDEX event_once ON event (once) WHERE once IS NOT NULL")
    for name, more in (
        ("kind", ""),
        ("project", " AND project IS NOT NULL"),
        ("policy", " AND policy IS NOT NULL"),
    ):
        op.drop_index(f"event_{name}", "event")
        op.execute(
            f"CREATE INDEX event_{name} ON event ({name}, number) WHERE number IS NOT NULL{more}"
        )
