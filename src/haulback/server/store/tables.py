"""The tables.  Times are epoch milliseconds; open-ended members are JSON text."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()
_GUID = String(36)

task = Table(
    "task",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("type", String(40), nullable=False),
    Column("lane", String(16), nullable=False),
    Column("state", String(12), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("window_end", BigInteger, nullable=False),
    Column("window_length", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("started", BigInteger),
    Column("finished", BigInteger),
    Column("progress", Float, nullable=False),
    Column("status_info", Text),
    Column("backup_type", String(20)),
    Column("retry_count", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("refs", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("results", Text, nullable=False),
    Column("follows", _GUID),
    Column("workflow", _GUID, nullable=False),
    Column("project", String(80)),
    # '' and not NULL, so that both databases can use it in the middle of an index.
    Column("pinned_node", _GUID, nullable=False),
    Column("source_slot", String(80)),
    Column("entity_slot", String(80)),
    Column("slots", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("node", _GUID),
    Column("session", _GUID),
    Column("lease_until", BigInteger),
    Column("ready", Boolean, nullable=False),
    Column("cancel_wanted", Boolean, nullable=False),
    Column("archived", Boolean, nullable=False),
)

_READY = text("ready")
VISIBLE = text("NOT archived AND state <> 'PLANNED'")  # what lists show
_QUEUED = text("state = 'QUEUED'")
_RUNNING = text("state = 'RUNNING'")
for name, columns, where in (
    ("task_ready", ("lane", "pinned_node", "rank"), _READY),
    ("task_opens", ("window_start",), text("state = 'QUEUED' AND NOT ready")),
    ("task_closes", ("window_end",), _QUEUED),
    ("task_leased", ("lease_until",), _RUNNING),
    ("task_session", ("session",), _RUNNING),
    # state and archived: so that counting a list need not look at the rows
    ("task_newest", ("created", "guid", "state", "archived"), VISIBLE),
    # not of all rows: SQLite would take it for every question that begins with a state
    ("task_state", ("state", "created"), VISIBLE),
    ("task_archived", ("finished",), text("archived")),
):
    Index(name, *(task.c[c] for c in columns), sqlite_where=where, postgresql_where=where)
Index("task_follows", task.c.follows)
Index("task_workflow", task.c.workflow)
Index("task_modified", task.c.modified)

task_ref = Table(
    "task_ref",
    metadata,
    Column("task", ForeignKey("task.guid", ondelete="CASCADE"), primary_key=True),
    Column("role", String(40), primary_key=True),
    Column("guid", _GUID, nullable=False),
    Column("name", String(400), nullable=False),
    Index("task_ref_guid", "role", "guid"),
)

slot = Table(
    "slot",
    metadata,
    Column("key", String(96), primary_key=True),
    Column("used", Integer, nullable=False),
    Column("most", Integer, nullable=False),
)

log_line = Table(
    "log_line",
    metadata,
    Column("task", ForeignKey("task.guid", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("text", Text, nullable=False),
)

node = Table(
    "node",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("secret", String(64), nullable=False),
    Column("session", _GUID),
    Column("token", String(64)),
    Column("version", String(40), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("seen", BigInteger),
    Column("staging_total", BigInteger, nullable=False),
    Column("staging_used", BigInteger, nullable=False),
    Column("restore_roots", Text, nullable=False),
    Index("node_token", "token"),
)

enrolment = Table(
    "enrolment",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False),
)

account = Table(
    "account",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("login", String(200), nullable=False, unique=True),
    Column("password", Text, nullable=False),
)

login = Table(
    "login",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("account", ForeignKey("account.guid", ondelete="CASCADE"), nullable=False),
    Column("expires", BigInteger, nullable=False),
)

hypervisor = Table(
    "hypervisor",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("driver", String(40), nullable=False),
    Column("config", Text, nullable=False),
    Column("node", _GUID),
)

destination = Table(
    "destination",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("driver", String(40), nullable=False),
    Column("config", Text, nullable=False),
    Column("node", _GUID),
    Column("repository", _GUID),
    # The key that opens the repository, sealed by the server's own key, which is not stored here.
    Column("sealed_key", Text, nullable=False),
)

entity = Table(
    "entity",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("uuid", String(80), nullable=False),
    Column("name", String(400), nullable=False),
    Column("type", String(20), nullable=False),
    Column("hypervisor", ForeignKey("hypervisor.guid"), nullable=False),
    Column("present", Boolean, nullable=False),
    Column("disks", Text, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Index("entity_uuid", "hypervisor", "uuid", unique=True),
    Index("entity_name", "name", "guid"),
)

backup = Table(
    "backup",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("entity", ForeignKey("entity.guid"), nullable=False),
    Column("entity_name", String(400), nullable=False),
    Column("destination", ForeignKey("destination.guid"), nullable=False),
    Column("location", _GUID, nullable=False, unique=True),
    Column("type", String(20), nullable=False),
    Column("status", String(20), nullable=False),
    Column("status_info", Text),
    Column("created", BigInteger, nullable=False),
    Column("snapshot_time", BigInteger),
    Column("stored_time", BigInteger),
    Column("size", BigInteger, nullable=False),
    Column("read", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("parent", _GUID),
    Index("backup_entity", "entity", "created"),
    Index("backup_newest", "created", "guid"),
)

base = Table(
    "base",
    metadata,
    Column("entity", ForeignKey("entity.guid"), primary_key=True),
    Column("destination", ForeignKey("destination.guid"), primary_key=True),
    Column("backup", _GUID, nullable=False),
    Column("checkpoint", String(120)),
    Index("base_checkpoint", "checkpoint"),
)
