"""The first schema; `tables.py` describes the columns."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table, parents first."""
    _account()
    _destination()
    _enrolment()
    _hypervisor()
    _node()
    _slot()
    _task()
    _task_indexes()
    _entity()
    _log_line()
    _login()
    _task_ref()
    _backup()
    _base()


def _account() -> None:
    op.create_table(
        "account",
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("login", sa.String(length=200), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("guid"),
        sa.UniqueConstraint("login"),
    )


def _destination() -> None:
    op.create_table(
        "destination",
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("driver", sa.String(length=40), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("node", sa.String(length=36), nullable=True),
        sa.Column("repository", sa.String(length=36), nullable=True),
        sa.Column("sealed_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("guid"),
        sa.UniqueConstraint("name"),
    )


def _enrolment() -> None:
    op.create_table(
        "enrolment",
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
    )


def _hypervisor() -> None:
    op.create_table(
        "hypervisor",
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("driver", sa.String(length=40), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("node", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("guid"),
        sa.UniqueConstraint("name"),
    )


def _node() -> None:
    op.create_table(
        "node",
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=36), nullable=True),
        sa.Column("token", sa.String(length=64), nullable=True),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=True),
        sa.Column("staging_total", sa.BigInteger(), nullable=False),
        sa.Column("staging_used", sa.BigInteger(), nullable=False),
        sa.Column("restore_roots", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("guid"),
        sa.UniqueConstraint("name"),
    )
    op.create_index("node_token", "node", ["token"], unique=False)


def _slot() -> None:
    op.create_table(
        "slot",
        sa.Column("key", sa.String(length=96), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )


def _task() -> None:
    op.create_table(
        "task",
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=False),
        sa.Column("window_length", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("status_info", sa.Text(), nullable=True),
        sa.Column("backup_type", sa.String(length=20), nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("refs", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("results", sa.Text(), nullable=False),
        sa.Column("follows", sa.String(length=36), nullable=True),
        sa.Column("workflow", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=80), nullable=True),
        sa.Column("pinned_node", sa.String(length=36), nullable=False),
        sa.Column("source_slot", sa.String(length=80), nullable=True),
        sa.Column("entity_slot", sa.String(length=80), nullable=True),
        sa.Column("slots", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(length=36), nullable=True),
        sa.Column("session", sa.String(length=36), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("cancel_wanted", sa.Boolean(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("guid"),
    )


def _task_indexes() -> None:
    _partial_index("task_closes", ["window_end"], "state = 'QUEUED'")
    _partial_index("task_archived", ["finished"], "archived")
    op.create_index("task_follows", "task", ["follows"], unique=False)
    _partial_index("task_leased", ["lease_until"], "state = 'RUNNING'")
    op.create_index("task_modified", "task", ["modified"], unique=False)
    _partial_index(
        "task_newest",
        ["created", "guid", "state", "archived"],
        "NOT archived AND state <> 'PLANNED'",
    )
    _partial_index("task_opens", ["window_start"], "state = 'QUEUED' AND NOT ready")
    _partial_index("task_ready", ["lane", "pinned_node", "rank"], "ready")
    _partial_index("task_session", ["session"], "state = 'RUNNING'")
    _partial_index("task_state", ["state", "created"], "NOT archived AND state <> 'PLANNED'")
    op.create_index("task_workflow", "task", ["workflow"], unique=False)


def _partial_index(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "task", columns, sqlite_where=condition, postgresql_where=condition)


def _entity() -> None:
    op.create_table(
        "entity",
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("uuid", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("hypervisor", sa.String(length=36), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("disks", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hypervisor"],
            ["hypervisor.guid"],
        ),
        sa.PrimaryKeyConstraint("guid"),
    )
    op.create_index("entity_name", "entity", ["name", "guid"], unique=False)
    op.create_index("entity_uuid", "entity", ["hypervisor", "uuid"], unique=True)


def _log_line() -> None:
    op.create_table(
        "log_line",
        sa.Column("task", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["task"], ["task.guid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task", "number"),
    )


def _login() -> None:
    op.create_table(
        "login",
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=36), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["account.guid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token"),
    )


def _task_ref() -> None:
    op.create_table(
        "task_ref",
        sa.Column("task", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.ForeignKeyConstraint(["task"], ["task.guid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task", "role"),
    )
    op.create_index("task_ref_guid", "task_ref", ["role", "guid"], unique=False)


def _backup() -> None:
    op.create_table(
        "backup",
        sa.Column("guid", sa.String(length=36), nullable=False),
        sa.Column("entity", sa.String(length=36), nullable=False),
        sa.Column("entity_name", sa.String(length=400), nullable=False),
        sa.Column("destination", sa.String(length=36), nullable=False),
        sa.Column("location", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("status_info", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_time", sa.BigInteger(), nullable=True),
        sa.Column("stored_time", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("parent", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["destination"],
            ["destination.guid"],
        ),
        sa.ForeignKeyConstraint(
            ["entity"],
            ["entity.guid"],
        ),
        sa.PrimaryKeyConstraint("guid"),
        sa.UniqueConstraint("location"),
    )
    op.create_index("backup_entity", "backup", ["entity", "created"], unique=False)
    op.create_index("backup_newest", "backup", ["created", "guid"], unique=False)


def _base() -> None:
    op.create_table(
        "base",
        sa.Column("entity", sa.String(length=36), nullable=False),
        sa.Column("destination", sa.String(length=36), nullable=False),
        sa.Column("backup", sa.String(length=36), nullable=False),
        sa.Column("checkpoint", sa.String(length=120), nullable=True),
        sa.ForeignKeyConstraint(
            ["destination"],
            ["destination.guid"],
        ),
        sa.ForeignKeyConstraint(
            ["entity"],
            ["entity.guid"],
        ),
        sa.PrimaryKeyConstraint("entity", "destination"),
    )
    op.create_index("base_checkpoint", "base", ["checkpoint"], unique=False)
