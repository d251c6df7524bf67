"""State and components that all services of a server process share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import time

from haulback.clock import SteadyClock
from haulback.errors import NotFound
from haulback.kinds.api import Context, Kinds, Submission
from haulback.kinds.registry import WAYS
from haulback.kinds.staging_cleanup import clean_up
from haulback.server.caller import Caller, Node
from haulback.server.key_vault import KeyVault
from haulback.server.services import own_key
from haulback.server.services.event_hub import EventHub
from haulback.server.services.host_addresses import Network
from haulback.server.services.login_limiter import LoginLimiter
from haulback.server.services.node_requests import NodeRequests
from haulback.server.services.readiness import Readiness
from haulback.server.store import audit, hold, queue, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection, Store
from haulback.server.store.task_lifecycle import TaskChanges
from haulback.server.wakeups import Wakeups
from haulback.tasks.record import Task

LEASE_MS = 30_000  # time without a heartbeat after which a node loses its tasks


@dataclass
class AuditedChange:
    """A write transaction of a user, with its audit entry."""

    sql: Connection
    now: int
    before: object = None
    after: object = None
    subject: str | None = None
    silent: bool = False  # raised when the operation changed nothing, which needs no audit entry


@dataclass
class App:
    """The store, the kinds, the clock that orders events, the wake-ups, and the limits."""

    store: Store
    kinds: Kinds
    vault: KeyVault
    clock: SteadyClock = field(default_factory=SteadyClock)
    wakeups: Wakeups = field(default_factory=Wakeups)
    login_limiter: LoginLimiter = field(default_factory=LoginLimiter)
    lease_ms: int = LEASE_MS
    limits: Mapping[str, int] = field(default_factory=dict)
    notify_networks: list[Network] = field(default_factory=list)  # allowed receivers of webhooks
    time_zone: str = "UTC"  # IANA zone of reports
    report_at: time = time(7)  # local time at which daily reports are sent
    reported_date: str = ""  # local date whose daily reports were made
    certificate: str = ""  # path of the server's own certificate
    health_at: int = 0  # time of the last maintenance of silent nodes and the like, epoch ms
    # The last error of maintenance was logged at this time.
    failed_steps: set[str] = field(default_factory=set)
    readers_after: str = ""  # the last waiting restore that maintenance checked
    watched_since: int = 0  # time since which nodes can reach this server, epoch ms
    node_requests: NodeRequests = field(init=False)
    readiness: Readiness = field(init=False)
    event_hub: EventHub = field(init=False)
    ways: list[Submission] = field(default_factory=lambda: list(WAYS))

    def __post_init__(self) -> None:
        self.event_hub = EventHub(self.store, self.clock.now_ms, self.wakeups.news.set)
        self.node_requests = NodeRequests(self.store, self.wakeups, self.clock.now_ms)
        self.readiness = Readiness(
            self.store, self.clock.now_ms, lambda: own_key.trouble(self.vault, self.store)
        )

    @contextmanager
    def change(
        self, who: Caller, operation: str, subject: str | None = None
    ) -> Iterator[AuditedChange]:
        """A transaction with an audit entry: the database commits both or neither."""
        with self.store.write() as sql:
            change = AuditedChange(sql, self.clock.now_ms(), subject=subject)
            yield change
            if not change.silent:
                entry = (change.subject, change.before, change.after)
                audit.write(sql, change.now, (who.guid, who.name), operation, entry)

    def task_changes(self, sql: Connection) -> TaskChanges:
        return TaskChanges(sql, self.kinds, self.clock.now_ms(), self.vault.sign)

    def limits_of(self, node: Node) -> Mapping[str, int]:
        """Concurrency limits of a node: its configuration overrides the server's limits."""
        return {**self.limits, **node.limits} if node.limits else self.limits

    def tidy_after(self, sql: Connection, task: Task) -> None:
        """Plan a task that removes the leftovers of an ended task, on its node or on the node of
        its staging.
        """
        self.tidy_node(sql, task.node or (task.pinned_node if "staging" in task.params else None))

    def tidy_node(self, sql: Connection, node: str | None) -> None:
        """Plan a clean-up task for a node, unless one is waiting or the server is held."""
        if (
            node is None
            or hold.is_held(sql)
            or queue.is_waiting(sql, "STAGING_CLEANUP", "upkeep", node)
        ):
            return
        with suppress(NotFound):  # a removed node runs no clean-up
            named = SqlCatalogue(sql).places.node(node)
            tasks.insert(sql, [clean_up(named, Context(self.clock.now_ms()))])
