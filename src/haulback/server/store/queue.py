"""The queue: what a node may start, the taking of it, and the limit rows that taking fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from haulback.errors import Conflict
from haulback.server.store import tasks
from haulback.server.store.tables import slot as slots
from haulback.server.store.tables import task as table
from haulback.tasks import queue
from haulback.tasks.record import Task

_READY = sa.text("ready")  # as the partial index says it
_COUNTED = 1000  # a longer queue is long enough to say so
_FILL = sa.text(
    "INSERT INTO slot (key, used, most) VALUES (:key, 1, :most) ON CONFLICT (key) "
    "DO UPDATE SET used = slot.used + 1, most = excluded.most WHERE slot.used < excluded.most"
)


def open_windows(connection: sa.Connection, now: int) -> int:
    """Make the tasks whose start window has opened ready; how many did."""
    waiting = sa.text("state = 'QUEUED' AND NOT ready")
    done = connection.execute(
        sa.update(table).where(waiting, table.c.window_start <= now).values(ready=True)
    )
    return done.rowcount


def closed_windows(connection: sa.Connection, now: int, limit: int = 100) -> list[Task]:
    """Queued tasks that can no longer start, locked."""
    query = sa.select(*tasks.COLUMNS).where(sa.text("state = 'QUEUED'"), table.c.window_end <= now)
    rows = connection.execute(query.order_by(table.c.window_end).limit(limit).with_for_update())
    return [tasks.task_of(row) for row in rows]


def offer(connection: sa.Connection, node: str, now: int, limits: Mapping[str, int]) -> list[Task]:
    """What `node` may start now, the first first: never more than its limits leave room for."""
    found: list[Task] = []
    for lane, used in _occupied(connection, node).items():
        room = queue.most(queue.node_slot(node, lane), limits) - used
        if room > 0:
            found += _lane(connection, lane, node, now, room)
    return sorted(found, key=lambda task: (task.rank, task.created, task.guid))


def _occupied(connection: sa.Connection, node: str) -> dict[str, int]:
    keys = {queue.node_slot(node, lane): lane for lane in queue.LANES}
    rows = connection.execute(sa.select(slots.c.key, slots.c.used).where(slots.c.key.in_(keys)))
    return dict.fromkeys(queue.LANES, 0) | {keys[row.key]: row.used for row in rows}


def _lane(connection: sa.Connection, lane: str, node: str, now: int, room: int) -> list[Task]:
    """The first tasks of a lane; one source or entity may not get more than it has room for."""
    found = []
    for pinned in ("", node):
        query = ready(lane, pinned, now).limit(room * 4)
        found += [tasks.task_of(row) for row in connection.execute(query)]
    chosen: list[Task] = []
    entities: set[str] = set()
    for task in sorted(found, key=lambda task: task.rank):
        if task.entity_slot in entities:
            continue
        chosen.append(task)
        if task.entity_slot:
            entities.add(task.entity_slot)
    return chosen[:room]


def ready(lane: str, pinned: str, now: int) -> sa.Select[Any]:
    """The ready tasks of a lane in their order, read from the index of ready tasks alone."""
    return (
        sa.select(*tasks.COLUMNS)
        .where(_READY, table.c.lane == lane, table.c.pinned_node == pinned)
        .where(table.c.window_end > now, *_room())
        .order_by(table.c.rank)
    )


def _room() -> list[sa.ColumnElement[bool]]:
    keys = (table.c.source_slot, table.c.entity_slot, table.c.destination_slot)
    return [~_full(key) for key in keys]


def _full(key: sa.ColumnElement[Any]) -> sa.Exists:
    return sa.exists().where(slots.c.key == key, slots.c.used >= slots.c.most)


def take(
    connection: sa.Connection,
    task: Task,
    node: str,
    session: str,
    now: int,
    lease_until: int,
    limits: Mapping[str, int],
) -> None:
    """Give a queued task to a session, as its next attempt.

    Raises Conflict, changing nothing once the transaction is rolled back, when it cannot start.
    """
    if task.state != "QUEUED":
        raise Conflict(f"the task is {task.state}; only a QUEUED one can be taken")
    if not task.window_start <= now < task.window_end:
        raise Conflict("the task's start window is not open")
    if task.pinned_node not in ("", node):
        raise Conflict("the task needs what is on another node")
    wanted = (queue.node_slot(node, task.lane), *_own_slots(task))
    taken = sorted(key for key in wanted if key)  # one order for everybody: no deadlock
    for key in taken:
        fill(connection, key, queue.most(key, limits))
    tasks.change(
        connection,
        task,
        now,
        state="RUNNING",
        ready=False,
        started=now,
        progress=0.0,
        attempt=task.attempt + 1,
        node=node,
        session=session,
        lease_until=lease_until,
        slots=task.slots + taken,
        results={},
    )


def _own_slots(task: Task) -> tuple[str | None, ...]:
    return task.source_slot, task.entity_slot, task.destination_slot


def fill(connection: sa.Connection, key: str, most: int) -> None:
    """Occupy a place in a limit row.  Raises Conflict when there is none left."""
    if most < 1 or connection.execute(_FILL, {"key": key, "most": most}).rowcount != 1:
        raise Conflict(f"the task has to wait: {queue.waiting_for(key)}", slot=key)


def release(connection: sa.Connection, keys: list[str]) -> None:
    """Give places back."""
    for key in sorted(keys):
        connection.execute(sa.update(slots).where(slots.c.key == key).values(used=slots.c.used - 1))
        connection.execute(sa.delete(slots).where(slots.c.key == key, slots.c.used <= 0))


def why_waiting(connection: sa.Connection, task: Task, now: int) -> str | None:
    """In words, what a queued task waits for; None when nothing is in its way but its turn."""
    if task.state != "QUEUED":
        return None
    if now < task.window_start:
        return "its start window is not open yet"
    for key in _own_slots(task):
        if key and connection.scalar(sa.select(sa.literal(1)).where(_full(sa.literal(key)))):
            return queue.waiting_for(key)
    return "a node to take it"


def position(connection: sa.Connection, task: Task) -> int | None:
    """How many ready tasks of its lane go before a queued one, up to a thousand."""
    if task.state != "QUEUED":
        return None
    before = sa.select(sa.literal(1)).where(
        _READY, table.c.lane == task.lane, table.c.rank < task.rank
    )
    # What is pinned to one node does not wait behind what is pinned to another.
    if task.pinned_node:
        before = before.where(table.c.pinned_node.in_(("", task.pinned_node)))
    counted = before.limit(_COUNTED).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(counted)) or 0


def share_failed(connection: sa.Connection, run: str, kind: str) -> tuple[int, int]:
    """(failed, all) tasks of a kind in a run."""
    where = (sa.text("run <> ''"), table.c.run == run, table.c.type == kind)
    query = sa.select(table.c.state, sa.func.count()).where(*where).group_by(table.c.state)
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return counts.get("FAILED", 0), sum(counts.values())


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
