"""The queue: the ready tasks of a node, the start of a task, and the rows of limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from haulback.contract.task_states import PLANNED
from haulback.errors import Conflict
from haulback.inventory.reach import is_group
from haulback.server.store import breakers, copy_hours, epoch, node_groups, space, tasks
from haulback.server.store.raw_sql import Statement, Values
from haulback.server.store.tables import task as table
from haulback.tasks import scheduling
from haulback.tasks.destination_health import source_of
from haulback.tasks.record import Task
from haulback.wire import JsonObject

_READY = sa.text("ready")  # the condition of the partial index of ready tasks
_COUNTED = ("EXPORT", "STORE")  # kinds of tasks that have thresholds
OFFERED = 100  # tasks in one offer at most
# Tasks that an offer reads; more than its size, because only the first task of an entity may start.
_SPARE = 20
_NOT_FULL = "NOT EXISTS (SELECT 1 FROM slot WHERE slot.key = task.{} AND slot.used >= slot.most)"
_LANE = "FROM task WHERE ready AND lane = :lane AND pinned_node = :pinned"
_MAY_START = "window_end > :now AND " + " AND ".join(
    _NOT_FULL.format(f"{what}_slot") for what in ("source", "entity", "destination")
)
# The ready tasks of a lane in their order, read only from the index of ready tasks.
READY = Statement(f"SELECT {tasks.LIST} {_LANE} AND {_MAY_START} ORDER BY rank LIMIT :most")
# The same query for the tasks of one destination, and for the tasks without a destination.
READY_AT = Statement(
    f"SELECT {tasks.LIST} {_LANE} AND destination = :destination AND {_MAY_START} "
    "ORDER BY rank LIMIT :most"
)
# The copies to one destination, without those that read from one of the destinations `:shut`.
_READS_SHUT = (
    "EXISTS (SELECT 1 FROM destination AS place WHERE replace(:shut, place.guid, '') <> :shut "
    "AND replace(task.params, '\"source\":\"' || place.guid || '\"', '') <> task.params)"
)
COPIES_AT = Statement(
    f"SELECT {tasks.LIST} {_LANE} AND destination = :destination AND {_MAY_START} "
    f"AND NOT {_READS_SHUT} ORDER BY rank LIMIT :most"
)
READY_NOWHERE = Statement(
    f"SELECT {tasks.LIST} {_LANE} AND destination IS NULL AND {_MAY_START} "
    "ORDER BY rank LIMIT :most"
)
# The destinations of the ready tasks of a lane: one index lookup for each destination.
PLACES = Statement(
    f"WITH RECURSIVE place(guid) AS (SELECT min(destination) {_LANE} UNION ALL "
    f"SELECT (SELECT min(destination) {_LANE} AND destination > place.guid) FROM place "
    "WHERE place.guid IS NOT NULL) SELECT guid FROM place WHERE guid IS NOT NULL"
)
_FULL_SHARES = Statement("SELECT key FROM slot WHERE key >= :low AND key < :high AND used >= most")
_SEVERAL = Statement("SELECT count(*) FROM (SELECT 1 FROM destination LIMIT 2) AS first")
_USED = Statement("SELECT key, used FROM slot WHERE key >= :low AND key < :high")
# An index query for each lane and pin, of which there are few, while the queue may be long. A
# scalar subquery is never turned into a join, which would read the whole queue.  The order is that
# of the index: without an order, PostgreSQL reads the whole queue for each lane without a task,
# because it expects to find one among the first rows.
_LANES = Statement(
    "SELECT lanes.lane, pins.pin FROM ("
    + " UNION ALL ".join(f"SELECT '{lane}' AS lane" for lane in scheduling.LANES)
    + ") AS lanes CROSS JOIN (SELECT '' AS pin UNION ALL SELECT CAST(:node AS VARCHAR(36)) "
    "UNION ALL SELECT guid FROM node_group WHERE node = :node) AS pins "
    "WHERE (SELECT task.guid FROM task WHERE task.ready AND task.lane = lanes.lane "
    "AND task.pinned_node = pins.pin ORDER BY task.rank LIMIT 1) IS NOT NULL"
)
_FILL = Statement(
    "INSERT INTO slot (key, used, most) VALUES (:key, :count, :most) ON CONFLICT (key) DO UPDATE "
    "SET used = slot.used + excluded.used, most = excluded.most "
    "WHERE slot.used + excluded.used <= excluded.most"
)
_EMPTY = Statement("UPDATE slot SET used = used - :count WHERE key = :key")
_DROP = Statement("DELETE FROM slot WHERE key = :key AND used <= 0")


def open_windows(connection: sa.Connection, now: int) -> int:
    """Make the tasks ready whose start window has opened; returns their number."""
    waiting = sa.text("state = 'QUEUED' AND NOT ready")
    done = connection.execute(
        sa.update(table).where(waiting, table.c.window_start <= now).values(ready=True)
    )
    return done.rowcount


def follow_back(connection: sa.Connection, now: int, step: int) -> None:
    """Move windows and ranks back after a clock was set back by `step` ms to `now`.

    Due tasks stay due; a windowStart that a user requested stays unchanged.
    """
    waits = table.c.state.in_(("QUEUED", PLANNED))
    asked = sa.func.coalesce(table.c.asked_start, 0)
    moved = sa.case((table.c.window_start - step > asked, table.c.window_start - step), else_=asked)
    change = sa.update(table).where(waits, table.c.window_start > now)
    connection.execute(
        change.values(window_start=moved, rank=table.c.rank - table.c.window_start + moved)
    )
    early = (table.c.state == "QUEUED", _READY, table.c.window_start > now)
    connection.execute(sa.update(table).where(*early).values(ready=False))


def closed_windows(connection: sa.Connection, now: int, limit: int = 100) -> list[Task]:
    """Queued tasks that can no longer start, locked."""
    query = sa.select(*tasks.COLUMNS).where(sa.text("state = 'QUEUED'"), table.c.window_end <= now)
    rows = connection.execute(query.order_by(table.c.window_end).limit(limit).with_for_update())
    return [tasks.task_of(row) for row in rows]


def offer(
    connection: sa.Connection,
    node: str,
    now: int,
    limits: Mapping[str, int],
    most: int = OFFERED,
) -> list[Task]:
    """Tasks that `node` may start now, by rank, and no more than its limits allow."""
    result: list[Task] = []
    pins: dict[str, list[str]] = {}
    for lane, pin in _LANES.rows(connection, node=node):
        pins.setdefault(lane, []).append(pin)
    for lane, used in _occupied(connection, node, pins).items():
        room = min(scheduling.most(scheduling.node_slot(node, lane), limits) - used, most)
        if room > 0:
            result += _lane(connection, _Lane(lane, node, pins[lane]), now, room)
    return sorted(result, key=lambda task: (task.rank, task.created, task.guid))[:most]


def _occupied(connection: sa.Connection, node: str, lanes: Iterable[str]) -> dict[str, int]:
    """The numbers of running tasks of a node, for the lanes with a ready task."""
    found = dict.fromkeys(lanes, 0)
    if not found:
        return {}
    keys = {scheduling.node_slot(node, lane): lane for lane in found}
    rows = _USED.rows(connection, low=f"node:{node}:", high=f"node:{node};")
    return found | {keys[key]: used for key, used in rows if key in keys}


class _Lane(NamedTuple):
    """A lane of a node, and the pins with ready tasks in that lane."""

    name: str
    node: str
    pins: Sequence[str]


def _lane(connection: sa.Connection, lane: _Lane, now: int, room: int) -> list[Task]:
    """The first tasks of a lane with any of the pins, and no more of a source or an entity than its
    limit allows.
    """
    values: JsonObject = {"lane": lane.name, "now": now, "most": room + _SPARE}
    shut = _shut(connection, lane.name, lane.node)
    closed = copy_hours.closed(connection, now) if lane.name == scheduling.COPYING else set()
    if shut or closed:
        values["shut"] = " ".join(sorted(shut))  # a source has no hours for copies
        rows = _around(connection, lane.pins, values, shut | closed)
    else:
        rows = [
            row for pinned in lane.pins for row in READY.rows(connection, pinned=pinned, **values)
        ]
    result = [tasks.task_of(row) for row in rows]
    chosen: list[Task] = []
    entities: set[str] = set()
    for task in sorted(result, key=lambda task: task.rank):
        if task.entity_slot in entities:
            continue
        chosen.append(task)
        if task.entity_slot:
            entities.add(task.entity_slot)
    return chosen[:room]


def _shut(connection: sa.Connection, lane: str, node: str) -> set[str]:
    """The destinations for which a lane of a node may start no task now.

    The breaker of the destination is open, its share of the lane is used up, or it has no space for
    a new backup.
    """
    low = scheduling.share_slot(node, lane, "")
    full = _FULL_SHARES.rows(connection, low=low, high=f"{low[:-1]};")
    shut = {key.removeprefix(low) for (key,) in full}
    if lane == scheduling.NEW_BACKUPS:
        shut |= space.full(connection).keys()
    return shut | breakers.open_ones(connection) if lane in scheduling.AT_DESTINATION else shut


def _around(
    connection: sa.Connection, pins: Sequence[str], values: JsonObject, shut: set[str]
) -> list[Values]:
    """The first tasks of a lane without those of some destinations, whose rows are not read."""
    rows: list[Values] = []
    at = COPIES_AT if values["lane"] == scheduling.COPYING else READY_AT
    for pinned in pins:
        rows += READY_NOWHERE.rows(connection, pinned=pinned, **values)
        for (place,) in PLACES.rows(connection, lane=values["lane"], pinned=pinned):
            if place not in shut:
                rows += at.rows(connection, pinned=pinned, destination=place, **values)
    return rows


class NodeLease(NamedTuple):
    """The right to start tasks for a node's session, with a lease until `until` (epoch ms), within
    the node's limits.
    """

    node: str
    session: str
    until: int
    limits: Mapping[str, int]


def take(connection: sa.Connection, wanted: Sequence[Task], lease: NodeLease, now: int) -> None:
    """Give queued tasks to a session, each as its next attempt.

    Raises Conflict if a task cannot start; the caller rolls the transaction back.
    """
    node, session, until, limits = lease
    shares = _check_destinations(connection, wanted, now)
    pins = _pins(connection, node, wanted)
    for task in wanted:
        _check_startable(task, pins, now)
    held = {task.guid: _places(task, node, shares=shares) for task in wanted}
    places: Counter[str] = Counter()
    for task in wanted:
        places.update(held[task.guid])
    # All callers lock in the same order, which prevents deadlocks.
    for key, count in sorted(places.items()):
        fill(connection, key, scheduling.most(key, limits), count)
    taken = {
        "state": "RUNNING",
        "ready": False,
        "started": now,
        "progress": 0.0,
        "node": node,
        "session": session,
        "lease_until": until,
        "results": {},
    }
    now_is = epoch.current(connection)
    own = [
        {"attempt": task.next_attempt(now_is), "slots": task.slots + held[task.guid]}
        for task in wanted
    ]
    tasks.change_many(connection, wanted, now, [taken | more for more in own])


def _check_destinations(connection: sa.Connection, wanted: Sequence[Task], now: int) -> bool:
    """Check that the destinations of tasks accept them; returns whether the lanes are shared.

    Nothing is read for tasks without a destination.  Raises Conflict.
    """
    if not any(_destinations(task) for task in wanted):
        return False
    _check_breakers(connection, wanted)
    _check_hours(connection, wanted, now)
    return _has_several(connection)


def _pins(connection: sa.Connection, node: str, wanted: Iterable[Task]) -> Sequence[str]:
    """The pins with which a node can run tasks; groups are read only for a task with a group."""
    if any(is_group(task.pinned_node) for task in wanted):
        return node_groups.pins_of(connection, node)
    return ("", node)


def _has_several(connection: sa.Connection) -> bool:
    """Whether more than one destination exists, since only then a lane is shared."""
    row = _SEVERAL.row(connection)
    return bool(row and row[0] > 1)


def _check_breakers(connection: sa.Connection, wanted: Iterable[Task]) -> None:
    """Raises Conflict for a task whose destination does not answer, or has no space for it."""
    shut, full = breakers.open_ones(connection), space.full(connection)
    for task in wanted if shut or full else ():
        to = task.refs.get("backupDestination")
        if to and to.guid in full and task.lane == scheduling.NEW_BACKUPS:
            raise Conflict(f"the task waits: the backup destination {to.name} {full[to.guid]}")
        if to and to.guid in shut and task.lane in scheduling.AT_DESTINATION:
            raise Conflict(f"the task waits: the backup destination {to.name} does not answer")
        if source_of(task) in shut:
            raise Conflict("the task waits: the destination that it copies from does not answer")


def _check_hours(connection: sa.Connection, wanted: Iterable[Task], now: int) -> None:
    """Raises Conflict for a copy outside the hours of its destination."""
    copies = [task for task in wanted if task.lane == scheduling.COPYING]
    closed = copy_hours.closed(connection, now) if copies else set()
    for task in copies:
        to = task.refs.get("backupDestination")
        if to and to.guid in closed:
            raise Conflict(f"the task waits: the hours for copies to {to.name} are not open")


def _check_startable(task: Task, pins: Sequence[str], now: int) -> None:
    """Raises Conflict if a task cannot start on the node with these pins."""
    if task.state == PLANNED:
        raise Conflict("the task before this task has not finished")
    if task.state != "QUEUED":
        raise Conflict(f"the task is {task.state}; only a QUEUED task can be taken")
    # A clock that was set back closes no open window, unless a user requested the start.
    is_open = task.window_start <= now or (task.ready and task.asked_start is None)
    if not is_open or now >= task.window_end:
        raise Conflict("the task's start window is not open")
    if task.pinned_node not in pins:
        raise Conflict("the task needs a hypervisor or destination that this node does not reach")


def _places(task: Task, node: str, *, shares: bool) -> list[str]:
    """The limit rows that a task occupies on a node."""
    wanted: list[str | None] = [scheduling.node_slot(node, task.lane), *_own_slots(task)]
    if shares:
        wanted += [scheduling.share_slot(node, task.lane, place) for place in _destinations(task)]
    return sorted(key for key in wanted if key)


def _destinations(task: Task) -> list[str]:
    """The destinations that a task writes to or reads from."""
    return [place for place in (task.ref("backupDestination"), source_of(task)) if place]


def _own_slots(task: Task) -> tuple[str | None, ...]:
    return task.source_slot, task.entity_slot, task.destination_slot


def fill(connection: sa.Connection, key: str, most: int, count: int = 1) -> None:
    """Occupy slots of a limit row.  Raises Conflict if too few slots are free."""
    if most < count or _FILL.run(connection, key=key, most=most, count=count) != 1:
        raise Conflict(f"the task has to wait: {scheduling.waiting_for(key)}", slot=key)


def release(connection: sa.Connection, keys: Iterable[str]) -> None:
    """Release slots of a limit row."""
    for key, count in sorted(Counter(keys).items()):
        _EMPTY.run(connection, key=key, count=count)
        _DROP.run(connection, key=key)


def share_failed(connection: sa.Connection, run: str, kind: str) -> tuple[int, int]:
    """The numbers of failed tasks and of all tasks of a kind in a run."""
    where = (sa.text("run <> ''"), table.c.run == run, table.c.type == kind)
    query = sa.select(table.c.state, sa.func.count()).where(*where).group_by(table.c.state)
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return counts.get("FAILED", 0), sum(counts.values())


def failed_of_run(connection: sa.Connection, run: str) -> list[Task]:
    """A failed task of each kind that thresholds count, in a run."""
    where = (sa.text("run <> ''"), table.c.run == run, table.c.state == "FAILED")
    query = sa.select(*tasks.COLUMNS).where(*where)
    return [
        tasks.task_of(row)
        for kind in _COUNTED
        for row in connection.execute(query.where(table.c.type == kind).limit(1))
    ]


def waiting_of_run(connection: sa.Connection, run: str, kind: str) -> list[Task]:
    """Queued tasks of a kind in a run, locked."""
    where = (sa.text("run <> ''"), table.c.run == run, table.c.type == kind)
    query = sa.select(*tasks.COLUMNS).where(*where, table.c.state == "QUEUED")
    return [tasks.task_of(row) for row in connection.execute(query.with_for_update())]


def is_waiting(connection: sa.Connection, kind: str, lane: str, node: str) -> bool:
    """Whether a ready task of a kind is pinned to a node."""
    query = sa.select(table.c.guid).where(_READY, table.c.lane == lane)
    query = query.where(table.c.pinned_node == node, table.c.type == kind).limit(1)
    return connection.scalar(query) is not None


def is_queued(connection: sa.Connection, kind: str, destination: str) -> bool:
    """Whether a task of a kind waits to start at a destination."""
    where = (table.c.state == "QUEUED", table.c.type == kind, table.c.destination == destination)
    return connection.scalar(sa.select(table.c.guid).where(*where).limit(1)) is not None


def has_task(connection: sa.Connection, kind: str, destination: str) -> bool:
    """Whether a task of a kind is queued or runs at a destination."""
    live = sa.text("state IN ('QUEUED', 'RUNNING')")
    where = (live, table.c.type == kind, table.c.destination == destination)
    return connection.scalar(sa.select(table.c.guid).where(*where).limit(1)) is not None


def runs(connection: sa.Connection, kind: str, destination: str, node: str) -> bool:
    """Whether a node runs a task of a kind at a destination."""
    live = sa.text("state = 'RUNNING'")
    where = (live, table.c.type == kind, table.c.destination == destination, table.c.node == node)
    return connection.scalar(sa.select(table.c.guid).where(*where).limit(1)) is not None
