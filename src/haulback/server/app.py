"""What every part of the server works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from haulback.clock import SteadyClock
from haulback.kinds.seam import Ask, Kinds
from haulback.kinds.staging_cleanup import clean_up
from haulback.server.bell import Bell
from haulback.server.store import queue, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Store
from haulback.server.store.life import Life
from haulback.server.vault import Vault
from haulback.tasks.record import Task

LEASE_MS = 30_000


@dataclass
class App:
    """The store, the kinds, the clock that orders events, the bell, and the limits."""

    store: Store
    kinds: Kinds
    vault: Vault
    clock: SteadyClock = field(default_factory=SteadyClock)
    bell: Bell = field(default_factory=Bell)
    lease_ms: int = LEASE_MS
    limits: Mapping[str, int] = field(default_factory=dict)

    def life(self, sql: sa.Connection) -> Life:
        return Life(sql, self.kinds, self.clock.now_ms())

    def tidy_after(self, sql: sa.Connection, task: Task) -> None:
        """Have what an ended task may have left removed: on its node, or where its staging is."""
        self.tidy_node(sql, task.node or (task.pinned_node if "staging" in task.params else None))

    def tidy_node(self, sql: sa.Connection, node: str | None) -> None:
        """Have a node look for leftovers, unless it is about to."""
        if node is None or queue.is_waiting(sql, "STAGING_CLEANUP", "upkeep", node):
            return
        ask = Ask(self.clock.now_ms())
        tasks.insert(sql, [clean_up(SqlCatalogue(sql).node(node), ask)])
