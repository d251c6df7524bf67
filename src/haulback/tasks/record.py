"""Task records, and the plans that create tasks."""

from __future__ import annotations

import msgspec

from haulback.ids import new_guid
from haulback.wire import JsonObject, Named

HOUR_MS = 3_600_000
DEFAULT_PRIORITY = 50  # the middle of 0 to 100
# The first attempt of epoch N has the number N * EPOCH + 1, so that no attempt of an earlier epoch
# has the name of a later attempt.
EPOCH = 10_000
# Characters: these lengths keep rows within the size of a PostgreSQL index entry.
NAMES, SUBJECT = 290, 100

# The first of these roles that a task has is its subject.
_SUBJECTS = (
    "protectedEntity",
    "backupDestination",
    "hypervisor",
    "hypervisorManager",
    "storageProvider",
    "node",
)
CONTRACT_TYPES = frozenset(
    [
        "BACKUP_CLEANUP",
        "BACKUP_DESTINATION_INIT",
        "BACKUP_DESTINATION_SYNC",
        "CONNECTIVITY_TEST",
        "DELETE",
        "EJECT_TAPE",
        "EXPORT",
        "IMPORT",
        "IMPORT_TAPE",
        "INVENTORY_SYNC",
        "LIVE_MIGRATION",
        "MOUNT",
        "RESTORE",
        "SCOPED_INVENTORY_SYNC",
        "SNAPSHOT",
        "SNAPSHOT_CLEANUP",
        "SNAPSHOT_REVERSION",
        "STAGING_CLEANUP",
        "STORE",
        "TAPE_MANAGER_INVENTORY_SYNC",
        "UNMOUNT",
        "UPLOAD",
    ]
)


class Task(msgspec.Struct, kw_only=True):
    """A unit of work for a node.  Times are epoch ms by the server's clock.

    `refs` maps the contract's member names to the objects of the task; `params` is the input for
    its task type; `results` is the node's report; `follows` is the guid of the preceding task;
    `run` is the submission to which failure thresholds apply.

    `asked_start` is the window start that the caller requested, None for a task due at once.
    `window_length` (ms) sets the start window of a follower when its predecessor finishes.  `tries`
    is the retry count at submission.  `slots` are the limit rows that the task occupies now.
    """

    guid: str = msgspec.field(default_factory=new_guid)
    type: str
    lane: str
    state: str = "QUEUED"
    priority: int = DEFAULT_PRIORITY
    rank: int = 0
    window_start: int = 0
    window_end: int = 0
    window_length: int = HOUR_MS
    asked_start: int | None = None
    created: int = 0
    modified: int = 0
    started: int | None = None
    finished: int | None = None
    progress: float = 0.0
    status_info: str | None = None
    backup_type: str | None = None
    retry_count: int = 0
    tries: int = 0
    refs: dict[str, Named] = msgspec.field(default_factory=dict)
    params: JsonObject = msgspec.field(default_factory=dict)
    results: JsonObject = msgspec.field(default_factory=dict)
    follows: str | None = None
    workflow: str = ""
    run: str = ""
    project: str | None = None
    pinned_node: str = ""
    source_slot: str | None = None
    entity_slot: str | None = None
    destination_slot: str | None = None
    slots: list[str] = msgspec.field(default_factory=list)
    attempt: int = 0
    node: str | None = None
    session: str | None = None
    lease_until: int | None = None
    ready: bool = False
    cancel_wanted: bool = False
    archived: bool = False

    def ref(self, role: str) -> str | None:
        """The guid of the object referenced as `role`, or None."""
        found = self.refs.get(role)
        return found.guid if found else None

    @property
    def names(self) -> str:
        """Names of the referenced objects for searches, lower case, at most NAMES characters."""
        names = dict.fromkeys(ref.name for ref in self.refs.values())
        return "\n".join(names).lower()[:NAMES]

    @property
    def subject(self) -> str:
        """Name of the task's main object for sorting, lower case, at most SUBJECT characters.

        The first role in _SUBJECTS decides; the requesting user's name is never used.
        """
        found = next((self.refs[role].name for role in _SUBJECTS if role in self.refs), "")
        return found.lower()[:SUBJECT]

    @property
    def tries_made(self) -> int:
        """The number of attempts in the epoch of the last attempt."""
        return self.attempt % EPOCH

    def next_attempt(self, epoch: int) -> int:
        """Number of the next attempt, in an epoch of the database."""
        return max(self.attempt, epoch * EPOCH) + 1

    @property
    def attempt_name(self) -> str:
        """Attempt name, `<task guid>-<attempt>`, for all that the attempt creates on the node."""
        return f"{self.guid}-{self.attempt}"


class NewBackup(msgspec.Struct, kw_only=True):
    """A backup record that a plan creates at once, before data is read.

    `copy_of` is the backup that a copy belongs to, None for a backup.
    """

    guid: str
    entity: str
    entity_name: str
    destination: str
    type: str
    project: str | None = None
    rule: str | None = None
    role: str = "PRIMARY"
    copy_of: str | None = None


class NewRestoreJob(msgspec.Struct, kw_only=True):
    """A restore job record; `target` describes the restore target."""

    guid: str = msgspec.field(default_factory=new_guid)
    type: str
    entity: str
    entity_name: str
    backup: str
    snapshot_time: int | None
    size: int
    project: str | None = None
    target: JsonObject = {}


class NewMount(msgspec.Struct, kw_only=True):
    """A mount record that a plan creates; see the inventory's `Mount`.  `keep` in ms."""

    guid: str = msgspec.field(default_factory=new_guid)
    backup: str
    entity: str
    entity_name: str
    node: str
    mode: str
    keep: int
    wanted: JsonObject
    snapshot_time: int | None
    size: int
    project: str | None
    hypervisor: str | None = None


class Refused(msgspec.Struct):
    """An object that a partly accepted submission refused, with the reason.

    `details` are the details of the error.
    """

    guid: str
    name: str
    message: str
    details: JsonObject = {}


class Plan(msgspec.Struct):
    """The tasks and records of one submission; a task with `follows` waits as PLANNED.

    `besides` are tasks that the system adds; the answer does not show them.  `gone` are entities
    without data, whose records are deleted at once.  `accepted` and `refused` belong to submissions
    that may succeed in part.
    """

    tasks: list[Task] = msgspec.field(default_factory=list)
    besides: list[Task] = msgspec.field(default_factory=list)
    backups: list[NewBackup] = msgspec.field(default_factory=list)
    restores: list[NewRestoreJob] = msgspec.field(default_factory=list)
    mounts: list[NewMount] = msgspec.field(default_factory=list)
    gone: list[str] = msgspec.field(default_factory=list)
    accepted: list[Named] = msgspec.field(default_factory=list)
    refused: list[Refused] = msgspec.field(default_factory=list)

    @property
    def heads(self) -> list[Task]:
        """The tasks without a predecessor, in request order: the answer of the submission."""
        return [task for task in self.tasks if task.follows is None]

    def add(self, other: Plan) -> None:
        """Merge the tasks and records of another plan, without its `accepted` and `refused`."""
        self.tasks += other.tasks
        self.besides += other.besides
        self.backups += other.backups
        self.restores += other.restores
        self.mounts += other.mounts
        self.gone += other.gone


class Waiting(msgspec.Struct):
    """The reason why a queued task waits, and the number of ready tasks of its lane before it."""

    reason: str
    position: int


class LogRow(msgspec.Struct):
    """A line of a task's log; `time` in epoch milliseconds by the server's clock."""

    number: int
    time: int
    attempt: int
    text: str
