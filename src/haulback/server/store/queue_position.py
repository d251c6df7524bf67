"""Positions of queued tasks, and the reasons why they wait."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from haulback.server.store import breakers, copy_hours, destinations, space
from haulback.server.store.queue_links import Links
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import slot as slots
from haulback.tasks import scheduling
from haulback.tasks.destination_health import source_of
from haulback.tasks.record import Task, Waiting
from haulback.units import utc
from haulback.wire import Named

COUNTED = 1000  # the largest position that is counted
NOTHING_ELSE = "a node to take it"
_MANY = 500  # values of one IN list; beyond it all full slots are read
_READY = "FROM task WHERE ready AND lane = :lane AND pinned_node"
_BEFORE = Statement(
    f"SELECT count(*) FROM (SELECT 1 {_READY} IN ('', :pinned) AND rank < :rank LIMIT {COUNTED}) "
    "AS before"
)
_FIRST = Statement(f"SELECT rank {_READY} = :pinned ORDER BY rank LIMIT {COUNTED}")
_FULL_LANES = Statement(
    "SELECT key FROM slot WHERE used >= most AND "
    "(key >= 'node:' AND key < 'node;' OR key >= 'share:' AND key < 'share;')"
)
_Lane = tuple[str, str]  # name of the lane, and the node to which its tasks are pinned


class _Group(NamedTuple):
    """Tasks that occupy the same limit rows of nodes."""

    pin: str
    lane: str
    destination: str | None
    source: str | None


class QueueState:
    """The queue in one transaction.  Each lane is read once, for any number of tasks."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now
        self._firsts: dict[_Lane, list[int]] = {}
        self._links = Links(sql, now)
        self._full_lanes: set[str] | None = None
        self._busy: dict[_Group, str] = {}

    def stand(self, tasks: Sequence[Task]) -> dict[str, Waiting]:
        """The reason why each queued task waits, by guid."""
        lanes: dict[_Lane, list[Task]] = {}
        for task in tasks:
            if task.state == "QUEUED":
                lanes.setdefault((task.lane, task.pinned_node), []).append(task)
        keys = {key for queued in lanes.values() for task in queued for key in _own(task)}
        full, away = self._full(list(keys)), self._away(tasks)
        result = {}
        for lane, queued in lanes.items():
            places = self._places(lane, {task.rank for task in queued})
            for task in queued:
                why = away.get(task.guid) or self._why(task, full)
                result[task.guid] = Waiting(why, places[task.rank])
        return result

    def _away(self, tasks: Sequence[Task]) -> dict[str, str]:
        """The reasons of tasks whose destination does not answer, has no space, or is outside its
        hours.
        """
        waiting = [
            (task, to)
            for task in tasks
            if task.lane in scheduling.AT_DESTINATION and (to := task.refs.get("backupDestination"))
        ]
        if not waiting:
            return {}
        at = _Destinations(self._sql, self._now, waiting)
        return {task.guid: text for task, to in waiting if (text := at.reason(task, to))}

    def _why(self, task: Task, full: set[str]) -> str:
        if self._now < task.window_start:
            return "its start window is not open yet"
        key = next((key for key in _own(task) if key in full), None)
        if key:
            return scheduling.waiting_for(key)
        return self._links.reason(task) or self._busy_nodes(task) or NOTHING_ELSE

    def _busy_nodes(self, task: Task) -> str:
        """The reason why no active node has a free slot for a task, "" if a node has."""
        group = _Group(task.pinned_node, task.lane, task.ref("backupDestination"), source_of(task))
        if group not in self._busy:
            full = [self._full_lane(node, group) for node in self._links.heard(group.pin)]
            self._busy[group] = scheduling.busy_nodes(full) if full else ""
        return self._busy[group]

    def _full_lane(self, node: str, group: _Group) -> str | None:
        """The limit row of a node that has no free slot for a group of tasks, or None."""
        if self._full_lanes is None:
            self._full_lanes = {key for (key,) in _FULL_LANES.rows(self._sql)}
        keys = [
            scheduling.share_slot(node, group.lane, place)
            for place in (group.destination, group.source)
            if place
        ]
        keys.append(scheduling.node_slot(node, group.lane))
        return next((key for key in keys if key in self._full_lanes), None)

    def _places(self, lane: _Lane, ranks: set[int]) -> dict[int, int]:
        """The number of ready tasks before each rank.

        Tasks that are pinned to one node do not wait behind tasks of another node.
        """
        if lane not in self._firsts:
            lowest = self._before(lane, min(ranks))
            if lowest >= COUNTED or len(ranks) == 1:
                return dict.fromkeys(ranks, lowest)
            self._firsts[lane] = self._first(lane)
        firsts = self._firsts[lane]
        return {rank: min(bisect_left(firsts, rank), COUNTED) for rank in ranks}

    def _before(self, lane: _Lane, rank: int) -> int:
        row = _BEFORE.row(self._sql, lane=lane[0], pinned=lane[1], rank=rank)
        return int(row[0]) if row else 0

    def _first(self, lane: _Lane) -> list[int]:
        """The ranks of the first tasks of a lane, in order."""
        return sorted(
            row[0]
            for pinned in dict.fromkeys(("", lane[1]))
            for row in _FIRST.rows(self._sql, lane=lane[0], pinned=pinned)
        )

    def _full(self, keys: list[str]) -> set[str]:
        """The limit rows without a free slot; for many keys the result has other rows too."""
        if not keys:
            return set()
        query = sa.select(slots.c.key).where(slots.c.used >= slots.c.most)
        # There are no more full rows than running tasks.
        asked = query.where(slots.c.key.in_(keys)) if len(keys) <= _MANY else query
        return set(self._sql.scalars(asked))


class _Destinations:
    """The destinations of some tasks in one transaction, each read once."""

    def __init__(self, sql: sa.Connection, now: int, waiting: Sequence[tuple[Task, Named]]) -> None:
        sources = {source for task, _ in waiting if (source := source_of(task))}
        self._stands = breakers.stands(sql, {to.guid for _, to in waiting} | sources)
        self._full = space.full(sql)
        copies = any(task.lane == scheduling.COPYING for task, _ in waiting)
        self._opens = copy_hours.openings(sql, now) if copies else {}
        self._names = destinations.names(sql, sources & self._stands.keys())

    def reason(self, task: Task, to: Named) -> str:
        """The reason why a task waits for its destinations, "" if it waits for none."""
        if (stand := self._stands.get(to.guid)) and (text := waits_for(to.name, stand)):
            return text
        if task.lane == scheduling.NEW_BACKUPS and to.guid in self._full:
            return f"the backup destination {to.name} {self._full[to.guid]}; free some space there"
        return self._reason_of_copy(task, to) if task.lane == scheduling.COPYING else ""

    def _reason_of_copy(self, task: Task, to: Named) -> str:
        source = source_of(task) or ""
        stand = self._stands.get(source)
        if stand and (text := waits_for(self._names.get(source, source), stand)):
            return f"the copy reads from its source: {text}"
        opening = self._opens.get(to.guid)
        return f"the hours for copies to {to.name} open at {utc(opening)}" if opening else ""


def waits_for(name: str, stand: breakers.BreakerStatus) -> str:
    """The reason why a task waits for a destination, "" if its breaker is closed."""
    breaker = stand.breaker
    if breaker.opened is None or breaker.next_try is None:
        return ""
    tried = "a task tests it now" if stand.is_tested else f"next test at {utc(breaker.next_try)}"
    since = utc(breaker.opened)
    return f"the backup destination {name} does not answer since {since}; {tried}"


def _own(task: Task) -> list[str]:
    return [key for key in (task.source_slot, task.entity_slot, task.destination_slot) if key]
