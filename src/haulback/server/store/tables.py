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
REF_COLUMNS = {
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
    Column("asked_start", BigInteger),  # requested start; NULL: due at once
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
    Column("run", _GUID, nullable=False),
    Column("project", String(80)),
    # The objects of the task, from `refs`, so that lists filter without a join; `names` has the
    # names of all objects.
    *(Column(name, _GUID) for name in REF_COLUMNS.values()),
    Column("names", Text, nullable=False),
    Column("subject", Text, nullable=False, server_default=""),  # name of the main object
    # The default is '' rather than NULL, so that both databases can use the column in an index.
    Column("pinned_node", _GUID, nullable=False),
    Column("source_slot", String(80)),
    Column("entity_slot", String(80)),
    Column("destination_slot", String(80)),
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
VISIBLE = text("NOT archived AND state <> 'PLANNED'")  # the tasks that lists show
ENDED = text("NOT archived AND state IN ('FINISHED', 'FAILED', 'CANCELLED')")
_QUEUED = text("state = 'QUEUED'")
LISTED_QUEUE = text("state = 'QUEUED' AND NOT archived")
_RUNNING = text("state = 'RUNNING'")
for name, columns, where in (
    ("task_ready", ("lane", "pinned_node", "rank"), _READY),
    # for queries without the tasks of some destinations, whose rows are skipped without being read
    ("task_ready_at", ("lane", "pinned_node", "destination", "rank"), _READY),
    ("task_opens", ("window_start",), text("state = 'QUEUED' AND NOT ready")),
    ("task_closes", ("window_end",), _QUEUED),
    ("task_queue", ("project", "rank", "guid"), LISTED_QUEUE),
    ("task_leased", ("lease_until",), _RUNNING),
    ("task_session", ("session",), _RUNNING),
    # state and archived are in the index, so that a count reads no rows
    ("task_newest", ("created", "guid", "state", "archived"), VISIBLE),
    # a partial index, because SQLite would use a full one for every query that begins with a state
    ("task_state", ("state", "created"), VISIBLE),
    ("task_archived", ("finished",), text("archived")),
    ("task_ended", ("finished",), ENDED),
    ("task_type", ("type", "created"), VISIBLE),
    ("task_entity", ("entity", "created"), VISIBLE),
    ("task_project", ("project", "created"), VISIBLE),
    ("task_heads", ("created", "guid"), text("guid = workflow AND NOT archived")),
    ("task_live", ("entity", "backup"), text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")),
    ("task_run", ("run", "type", "state"), text("run <> ''")),
):
    Index(name, *(task.c[c] for c in columns), sqlite_where=where, postgresql_where=where)
# All columns that lists filter and sort by, in the order of creation, so that a page is found by
# reading only this index.  PostgreSQL limits an entry to 2,700 bytes, which limits `names` and
# `subject`.
LISTED = (
    *("created", "guid", "state", "archived", "type", "node", "pinned_node", "follows", "workflow"),
    *("project", *REF_COLUMNS.values(), "priority", "window_start", "window_end", "progress"),
    *("started", "finished", "modified", "backup_type", "cancel_wanted", "names", "subject"),
)
_LISTED = [task.c[name] for name in LISTED]
Index("task_list", *_LISTED, sqlite_where=VISIBLE, postgresql_where=VISIBLE)
Index("task_follows", task.c.follows)
Index("task_workflow", task.c.workflow)
Index("task_modified", task.c.modified)

# A single row, written to check that the database accepts writes.
pulse = Table(
    "pulse",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
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
    Column("config", _GUID),
    Column("protocol", Integer, nullable=False),
    # The revision of the repository format that the node's process can write.
    Column("revision", Integer, nullable=False, server_default="1"),
    Index("node_token", "token"),
    Index("node_seen", "seen"),
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
    Column("roles", Text, nullable=False),
    Column("projects", Text),  # NULL: all projects
    Column("time_zone", String(64), nullable=False),
)

api_token = Table(
    "api_token",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("token", String(64), nullable=False, unique=True),
    Column("account", ForeignKey("account.guid", ondelete="CASCADE"), nullable=False),
    Column("roles", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("projects", Text),  # NULL: the projects of the account
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
    Column("nodes", Text, nullable=False, server_default="[]"),
    Column("settings", Text, nullable=False),
)

destination = Table(
    "destination",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("driver", String(40), nullable=False),
    Column("config", Text, nullable=False),
    Column("node", _GUID),
    Column("nodes", Text, nullable=False, server_default="[]"),
    Column("repository", _GUID),
    # The key that opens the repository, sealed by the server key, which the database does not
    # contain.
    Column("sealed_key", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("total_space", BigInteger),
    Column("used_space", BigInteger),
    Column("verify_state", Text, nullable=False, server_default="{}"),
    Column("owner", Text, nullable=False, server_default="{}"),  # the newest known owner
    Column("probe", Text, nullable=False, server_default="{}"),
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
    Column("project", String(80)),
    Column("settings", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("hardware", Text, nullable=False),
    Column("absent_since", BigInteger),  # time of the first scan that missed the machine
    Column("problem", Text),  # reason why the machine cannot be read
    # The machine's location on its platform.
    Column("place", Text, nullable=False, server_default=""),
    # The policies in `settings` as columns, so that an index finds the members of a policy.
    Column("backup_policy", _GUID),
    Column("snapshot_policy", _GUID),
    # `protection_due`: the time at which the state must be judged again.
    Column("protection", String(12), nullable=False, server_default="UNASSIGNED"),
    Column("protection_since", BigInteger),
    Column("protection_due", BigInteger),
    Index("entity_protection", "protection", "name", "guid"),
    Index("entity_protection_due", "protection_due"),
    Index("entity_uuid", "hypervisor", "uuid", unique=True),
    Index("entity_name", "name", "guid"),
    Index("entity_project", "project", "name"),
    Index("entity_backup_policy", "backup_policy", "guid"),
    Index("entity_snapshot_policy", "snapshot_policy", "guid"),
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
    Column("project", String(80)),
    Column("origin", Text, nullable=False),
    Column("rule", _GUID),
    Column("description", Text),
    Column("warnings", Text, nullable=False),
    Column("acknowledged", Boolean, nullable=False),
    Column("hint", String(20), nullable=False),
    Column("keep_until", BigInteger),
    Column("files", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("volumes", Text, nullable=False, server_default="[]"),
    Column("times", Text, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("level", String(20), nullable=False, server_default="STORED"),
    Column("consistency", String(20)),
    Column("location_status", String(12), nullable=False, server_default="PRESENT"),
    Column("damage", Text, nullable=False, server_default="{}"),
    Column("role", String(12), nullable=False, server_default="PRIMARY"),
    Column("lock_until", BigInteger),  # end of the retention lock; marks change keep_until
    Column("terms", String(64)),  # key of the retention terms under which the backup was made
    Column("copy_of", _GUID),  # the backup of which this row is another location
    # time of the next attempt to heal a damaged location
    Column("heal_after", BigInteger, nullable=False, server_default="0"),
    Index("backup_entity", "entity", "created"),
    Index(
        "backup_copies",
        "copy_of",
        "destination",
        sqlite_where=text("copy_of IS NOT NULL"),
        postgresql_where=text("copy_of IS NOT NULL"),
    ),
    Index("backup_newest", "created", "guid"),
    Index("backup_project", "project", "created"),
    Index(
        "backup_going",
        "destination",
        sqlite_where=text("status IN ('SUCCESS_REMOVED', 'FAILED') AND NOT gone"),
        postgresql_where=text("status IN ('SUCCESS_REMOVED', 'FAILED') AND NOT gone"),
    ),
    Index(
        "backup_not_present",
        "destination",
        sqlite_where=text("location_status <> 'PRESENT'"),
        postgresql_where=text("location_status <> 'PRESENT'"),
    ),
)

# The backups in lists, without their copies.
_FIRST = text("copy_of IS NULL")
_NEWEST = (backup.c.created, backup.c.guid)
Index("backup_first", *_NEWEST, sqlite_where=_FIRST, postgresql_where=_FIRST)
# Locations that can be healed from another location.
HEALABLE = text("status = 'SUCCESS' AND location_status IN ('DAMAGED', 'MISSING')")
Index("backup_heal", backup.c.heal_after, sqlite_where=HEALABLE, postgresql_where=HEALABLE)
# All columns that retention uses, so that backups are judged only from this index.
JUDGED = (
    *("destination", "entity", "guid", "location", "role", "rule", "type", "created"),
    *("snapshot_time", "hint", "keep_until", "location_status", "level", "terms", "stored"),
)
_STORED = text("status = 'SUCCESS'")
_JUDGED = [backup.c[name] for name in JUDGED]
Index("backup_judged", *_JUDGED, sqlite_where=_STORED, postgresql_where=_STORED)
_OF_RULE = text("status = 'SUCCESS' AND rule IS NOT NULL")
Index(
    "backup_of_rule",
    *(backup.c[name] for name in ("rule", "destination", "entity")),
    sqlite_where=_OF_RULE,
    postgresql_where=_OF_RULE,
)

# The backups that a clean-up or a VERIFY must find, fixed when its task was taken.  The key has the
# order of insertion, machine by machine, because a key by backup alone would change a page for each
# row.
expected_backup = Table(
    "expected_backup",
    metadata,
    Column("task", ForeignKey("task.guid", ondelete="CASCADE"), primary_key=True),
    Column("entity", _GUID, primary_key=True),
    Column("backup", _GUID, primary_key=True),
    sqlite_with_rowid=False,
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("entity", ForeignKey("entity.guid"), nullable=False),
    Column("uuid", String(200), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("snapshot_time", BigInteger, nullable=False),
    Column("managed", Boolean, nullable=False),
    Column("consistency", String(20)),
    Column("description", Text),
    Column("rule", _GUID),
    Column("policy", _GUID),
    Column("project", String(80)),
    Index("snapshot_entity", "entity", "uuid", unique=True),
    Index("snapshot_uuid", "uuid"),
    Index("snapshot_newest", "snapshot_time", "guid"),
    Index("snapshot_project", "project", "snapshot_time"),
)

proof = Table(
    "proof",
    metadata,
    Column("backup", ForeignKey("backup.guid"), primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("signature", Text, nullable=False),
)

restore_job = Table(
    "restore_job",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("type", String(24), nullable=False),
    Column("status", String(20), nullable=False),
    Column("status_info", Text),
    Column("entity", _GUID, nullable=False),
    Column("entity_name", String(400), nullable=False),
    Column("backup", _GUID, nullable=False),
    Column("snapshot_time", BigInteger),
    Column("size", BigInteger, nullable=False),
    Column("project", String(80)),
    Column("created", BigInteger, nullable=False),
    Column("finished", BigInteger),
    Column("target", Text, nullable=False),
    Column("times", Text, nullable=False),
    Index("restore_job_newest", "created", "guid"),
    Index("restore_job_entity", "entity", "created"),
)

record = Table(
    "record",
    metadata,
    Column("guid", _GUID, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("name", String(400), nullable=False),
    Column("parent", _GUID, nullable=False),
    Column("project", String(80)),
    Column("body", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    # A name is unique within its project; NULLs are never equal, hence the second index.
    Index("record_name", "kind", "parent", "project", "name", unique=True),
    Index(
        "record_shared_name",
        "kind",
        "parent",
        "name",
        unique=True,
        sqlite_where=text("project IS NULL"),
        postgresql_where=text("project IS NULL"),
    ),
    Index("record_kind", "kind", "name"),
)

# A single row: a text that only the server key of this database opens.
key_check = Table(
    "key_check",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sealed", Text, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", _GUID, primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("tasks", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Index("idempotency_created", "created"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("caller", _GUID, nullable=False),
    Column("login", String(200), nullable=False),
    Column("operation", String(200), nullable=False),
    Column("subject", String(80)),
    Column("before", Text),
    Column("after", Text),
    Index("audit_subject", "subject", "number"),
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
