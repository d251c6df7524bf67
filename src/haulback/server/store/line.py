"""Where queued tasks stand in line, and what they wait for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.server.store.hot import Hot
from haulback.server.store.tables import slot as slots
from haulback.tasks import queue
from haulback.tasks.record import Task

COUNTED = 1000  # a longer queue is long enough to say so
NOTHING_ELSE = "a node to take it"
_MANY = 500
_READY = "FROM task WHERE ready AND lane = :lane AND pinned_node = :pinned ORDER BY rank "
_LAST = Hot(f"SELECT rank {_READY} LIMIT 1 OFFSET {COUNTED - 1}")
_FIRST = Hot(f"SELECT rank {_READY} LIMIT {COUNTED}")


class Waiting(msgspec.Struct):
    """Why a queued task waits, and how many ready ones of its lane go before it."""

    reason: str
    position: int


class _Head:
    """The first thousand ready tasks of a lane that the same nodes may take."""

    def __init__(self, sql: sa.Connection, lane: str, pinned: str) -> None:
        self._sql, self._lane = sql, {"lane": lane, "pinned": pinned}
        last = _LAST.row(sql, **self._lane)
        self._last = last[0] if last else None
        self._ranks: list[Any] | None = None

    def before(self, rank: int) -> int:
        """How many of them go before a rank."""
        if self._last is not None and rank > self._last:
            return COUNTED
        if self._ranks is None:
            self._ranks = [row[0] for row in _FIRST.rows(self._sql, **self._lane)]
        return bisect_left(self._ranks, rank)


class Line:
    """The queue at one moment.  However many tasks are asked about, a lane is read once."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now
        self._heads: dict[tuple[str, str], _Head] = {}

    def stand(self, tasks: Sequence[Task]) -> dict[str, Waiting]:
        """What each of those that are queued waits for, by guid."""
        queued = [task for task in tasks if task.state == "QUEUED"]
        full = self._full(list({key for task in queued for key in _own(task)}))
        return {task.guid: Waiting(self._why(task, full), self._place(task)) for task in queued}

    def _why(self, task: Task, full: set[str]) -> str:
        if self._now < task.window_start:
            return "its start window is not open yet"
        key = next((key for key in _own(task) if key in full), None)
        return queue.waiting_for(key) if key else NOTHING_ELSE

    def _place(self, task: Task) -> int:
        """What is pinned to one node does not wait behind what is pinned to another."""
        lines = dict.fromkeys(("", task.pinned_node))
        found = sum(self._head(task.lane, pinned).before(task.rank) for pinned in lines)
        return min(found, COUNTED)

    def _head(self, lane: str, pinned: str) -> _Head:
        if (lane, pinned) not in self._heads:
            self._heads[lane, pinned] = _Head(self._sql, lane, pinned)
        return self._heads[lane, pinned]

    def _full(self, keys: list[str]) -> set[str]:
        """Those of the limit rows that have no place left."""
        found: set[str] = set()
        for at in range(0, len(keys), _MANY):
            query = sa.select(slots.c.key).where(slots.c.used >= slots.c.most)
            found |= set(self._sql.scalars(query.where(slots.c.key.in_(keys[at : at + _MANY]))))
        return found


def _own(task: Task) -> list[str]:
    return [key for key in (task.source_slot, task.entity_slot, task.destination_slot) if key]
