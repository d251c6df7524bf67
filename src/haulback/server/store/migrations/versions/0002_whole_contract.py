"""Tables of the whole contract: access, records, restore jobs, audit, and tasks without joins."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_GUID = sa.String(36)
_VISIBLE = "NOT archived AND state <> 'PLANNED'"
_ENDED = "NOT archived AND state IN ('FINISHED', 'FAILED', 'CANCELLED')"
_REFS = {
    "protectedEntity": "entity",
    "backup": "backup",
    "backupDestination": "destination",
    "hypervisor": "hypervisor",
    "hypervisorManager": "manager",
    "storageProvider": "storage_provider",
    "mountedBackup": "mounted_backup",
    "restoreJob": "restore_job",
    "schedule": "schedule",
}
_GOING = "status IN ('SUCCESS_REMOVED', 'FAILED') AND NOT gone"


def upgrade() -> None:
    """Add columns with values for old rows, then tables, then indexes."""
    _add_columns()
    _fill_tasks()
    _fill_backups()
    op.drop_table("task_ref")
    _access_tables()
    _restore_job()
    _record()
    _audit()
    _indexes()


def _text(name: str, default: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _add_columns() -> None:
    run = sa.Column("run", _GUID, nullable=False, server_default="")
    refs = [sa.Column(name, _GUID) for name in _REFS.values()]
    slot = sa.Column("destination_slot", sa.String(80))
    _add("task", run, *refs, _text("names", ""), slot)
    protocol = sa.Column("protocol", sa.Integer(), nullable=False, server_default="1")
    _add("node", sa.Column("config", _GUID), protocol)
    zone = sa.Column("time_zone", sa.String(64), nullable=False, server_default="UTC")
    roles = _text("roles", '["administrator"]')  # all users had the same role in this version
    _add("account", roles, sa.Column("projects", sa.Text()), zone)
    _add("hypervisor", _text("settings", "{}"))
    total, used = (sa.Column(n, sa.BigInteger()) for n in ("total_space", "used_space"))
    _add("destination", _text("settings", "{}"), total, used)
    project = sa.Column("project", sa.String(80))
    _add("entity", project, _text("settings", "{}"), _text("facts", "{}"))
    _add_to_backup()


def _add_to_backup() -> None:
    hint = sa.Column("hint", sa.String(20), nullable=False, server_default="STANDARD_RETENTION")
    _add(
        "backup",
        sa.Column("project", sa.String(80)),
        _text("origin", "{}"),
        sa.Column("rule", _GUID),
        sa.Column("description", sa.Text()),
        _text("warnings", "[]"),
        _flag("acknowledged"),
        hint,
        sa.Column("keep_until", sa.BigInteger()),
        _text("files", "[]"),
        _text("definition", "{}"),
        _text("times", "{}"),
        _flag("gone"),
    )


def _add(table: str, *columns: sa.Column[Any]) -> None:
    for column in columns:
        op.add_column(table, column)


def _fill_tasks() -> None:
    connection = op.get_bind()
    assignments = ", ".join(f"{name} = :{name}" for name in (*_REFS.values(), "names"))
    change = sa.text(f"UPDATE task SET {assignments} WHERE guid = :guid")
    for guid, text in connection.execute(sa.text("SELECT guid, refs FROM task")).all():
        refs = json.loads(text)
        found = {column: refs.get(role, {}).get("guid") for role, column in _REFS.items()}
        names = "\n".join(ref.get("name", "") for ref in refs.values()).lower()
        connection.execute(change, {**found, "names": names, "guid": guid})


def _fill_backups() -> None:
    """The contract has no status RUNNING."""
    op.execute("UPDATE backup SET status = 'INPROGRESS' WHERE status = 'RUNNING'")
    connection = op.get_bind()
    query = sa.text("SELECT guid, disks FROM entity")
    for guid, disks in connection.execute(query).all():
        # The disks of old backups were not recorded: the present disks of the machine are the best
        # guess.
        change = sa.text("UPDATE backup SET files = :files WHERE entity = :guid")
        connection.execute(change, {"files": disks, "guid": guid})
        _fill_facts(guid)


def _fill_facts(entity: str) -> None:
    connection, facts = op.get_bind(), {}
    rows = connection.execute(
        sa.text(
            "SELECT guid, type, snapshot_time, size FROM backup WHERE entity = :guid "
            "AND status = 'SUCCESS' ORDER BY snapshot_time, created"
        ),
        {"guid": entity},
    )
    for guid, kind, time, size in rows.all():
        sort = "Full" if kind == "FULL" else "Inc"
        facts[f"lastSuccessful{sort}Backup"] = {"guid": guid, "time": time}
        facts[f"lastSuccessful{sort}BackupSize"] = size
        facts |= {"lastBackup": time, "lastSuccessfulBackupSize": size}
    change = sa.text("UPDATE entity SET facts = :facts WHERE guid = :guid")
    connection.execute(change, {"facts": json.dumps(facts), "guid": entity})


def _access_tables() -> None:
    op.create_table(
        "api_token",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("token", sa.String(64), nullable=False, unique=True),
        sa.Column(
            "account", _GUID, sa.ForeignKey("account.guid", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger()),
    )
    op.create_table(
        "idempotency",
        sa.Column("caller", _GUID, primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("tasks", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
    )


def _restore_job() -> None:
    op.create_table(
        "restore_job",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("type", sa.String(24), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("status_info", sa.Text()),
        sa.Column("entity", _GUID, nullable=False),
        sa.Column("entity_name", sa.String(400), nullable=False),
        sa.Column("backup", _GUID, nullable=False),
        sa.Column("snapshot_time", sa.BigInteger()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.String(80)),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger()),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("times", sa.Text(), nullable=False),
    )


def _record() -> None:
    op.create_table(
        "record",
        sa.Column("guid", _GUID, primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("name", sa.String(400), nullable=False),
        sa.Column("parent", _GUID, nullable=False),
        sa.Column("project", sa.String(80)),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
    )


def _audit() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "audit",
        sa.Column("number", number, primary_key=True),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("caller", _GUID, nullable=False),
        sa.Column("login", sa.String(200), nullable=False),
        sa.Column("operation", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(80)),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
    )


def _indexes() -> None:
    for name, columns, where in (
        ("task_ended", ["finished"], _ENDED),
        ("task_type", ["type", "created"], _VISIBLE),
        ("task_node", ["node", "created"], _VISIBLE),
        ("task_entity", ["entity", "created"], _VISIBLE),
        ("task_project", ["project", "created"], _VISIBLE),
        ("task_priority", ["priority", "guid"], _VISIBLE),
        ("task_window", ["window_start", "guid"], _VISIBLE),
        ("task_heads", ["created", "guid"], "guid = workflow AND NOT archived"),
        ("task_live", ["entity", "backup"], "state IN ('QUEUED', 'RUNNING', 'PLANNED')"),
        ("task_run", ["run", "type", "state"], "run <> ''"),
    ):
        _partial("task", name, columns, where)
    _partial("backup", "backup_going", ["destination"], _GOING)
    op.create_index("backup_project", "backup", ["project", "created"])
    op.create_index("entity_project", "entity", ["project", "name"])
    op.create_index("restore_job_newest", "restore_job", ["created", "guid"])
    op.create_index("restore_job_entity", "restore_job", ["entity", "created"])
    op.create_index("record_name", "record", ["kind", "parent", "name"], unique=True)
    op.create_index("record_kind", "record", ["kind", "name"])
    op.create_index("audit_subject", "audit", ["subject", "number"])
    op.create_index("idempotency_created", "idempotency", ["created"])


def _partial(table: str, name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
