"""The record of a task, and the plans that make tasks."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.ids import new_guid
from haulback.wire import Named

HOUR_MS = 3_600_000
DEFAULT_PRIORITY = 50
# Characters: PostgreSQL's index entries hold no more beside the rest.
NAMES, SUBJECT = 290, 100

# The first of these that a task refers to is what it is about.
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
    """One unit of work.  Times in epoch milliseconds by the server's clock.

    `refs` are the objects it is about, by the contract's member name; `params` the kind's own
    input; `results` what the node reported; `follows` the guid of its predecessor; `run` the
    submission that a threshold counts over.
    `asked_start` is the start of the window that a person named, None for work that is due at once.
    `window_length` sets the start window of a follower when its predecessor finishes.  `tries` is
    the retry count it was submitted with.  `slots` are the limit rows it occupies now.
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
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    results: dict[str, Any] = msgspec.field(default_factory=dict)
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
        """The guid under `role`, if the task has one."""
        found = self.refs.get(role)
        return found.guid if found else None

    @property
    def names(self) -> str:
        """What it is about in words, lower case, to be searched; at most NAMES characters."""
        names = dict.fromkeys(ref.name for ref in self.refs.values())
        return "\n".join(names).lower()[:NAMES]

    @property
    def subject(self) -> str:
        """The name of the one thing it is about, in lower case, at most SUBJECT characters.

        It is never the name of the user who asked.
        """
        found = next((self.refs[role].name for role in _SUBJECTS if role in self.refs), "")
        return found.lower()[:SUBJECT]

    @property
    def attempt_name(self) -> str:
        """The name that everything this attempt creates outside the database bears."""
        return f"{self.guid}-{self.attempt}"


class NewBackup(msgspec.Struct, kw_only=True):
    """A backup entry that a plan creates at once, before any byte is read."""

    guid: str
    entity: str
    entity_name: str
    destination: str
    type: str
    project: str | None = None
    rule: str | None = None


class NewRestoreJob(msgspec.Struct, kw_only=True):
    """The record of a request to bring something back; `target` says where to."""

    guid: str = msgspec.field(default_factory=new_guid)
    type: str
    entity: str
    entity_name: str
    backup: str
    snapshot_time: int | None
    size: int
    project: str | None = None
    target: dict[str, Any] = {}


class NewMount(msgspec.Struct, kw_only=True):
    """A share that a plan wants; see the inventory's `Mount`."""

    guid: str = msgspec.field(default_factory=new_guid)
    backup: str
    entity: str
    entity_name: str
    node: str
    mode: str
    keep: int
    wanted: dict[str, Any]
    snapshot_time: int | None
    size: int
    project: str | None
    hypervisor: str | None = None


class Refused(msgspec.Struct):
    """What a submission that may succeed in part refused, and why."""

    guid: str
    name: str
    message: str


class Plan(msgspec.Struct):
    """The tasks one submission makes; a task that `follows` another waits for it, PLANNED.

    `besides` are what the system adds of its own, and no part of the answer.
    `gone` are entities without any data: their records go at once.  `accepted` and `refused` are
    for submissions that may succeed in part.
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
        """What the creator answers, in request order."""
        return [task for task in self.tasks if task.follows is None]

    def add(self, other: Plan) -> None:
        """Everything of another plan too."""
        self.tasks += other.tasks
        self.besides += other.besides
        self.backups += other.backups
        self.restores += other.restores
        self.mounts += other.mounts
        self.gone += other.gone
