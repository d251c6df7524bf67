"""What nodes do with tasks: see what they may start, take it, report, end it."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.errors import Conflict, Fenced, Forbidden, HaulbackError, Malformed
from haulback.server.app import App
from haulback.server.store import access, catalogue, life, queue, reports, tasks
from haulback.server.store.access import Enrolled, Node
from haulback.server.store.catalogue import SqlCatalogue, with_names
from haulback.server.store.engine import mapped
from haulback.tasks.record import Task
from haulback.tasks.states import PLANNED, State


class Done(msgspec.Struct):
    """An attempt whose work was complete when its node died before it could say so."""

    task: str
    attempt: int
    results: dict[str, Any]


class Opened(msgspec.Struct):
    """What a node process works with."""

    session: str
    token: str
    leaseMs: int  # noqa: N815
    now: int


def open_session(
    app: App, who: Enrolled, version: str, roots: list[str], done: list[Done]
) -> Opened:
    """A node's process starts: its predecessor is over, finished work of that one counts."""
    finished = {(one.task, one.attempt): one for one in done}
    with app.store.write() as sql:
        now = app.clock.now_ms()
        session, token, old = access.open_session(sql, who, version, roots, now)
        moves = app.life(sql)
        for task in life.of_session(sql, old) if old else []:
            one = finished.get((task.guid, task.attempt))
            if one is None or not _adopt(moves, task, one.results):
                moves.lost(tasks.get(sql, task.guid), "its node restarted")
        app.tidy_node(sql, who.guid)
    app.bell.ring()
    return Opened(session, token, app.lease_ms, app.clock.now_ms())


def _adopt(moves: life.Life, task: Task, results: dict[str, Any]) -> bool:
    """End a task as FINISHED with what its dead process had written down, if that can be read."""
    try:
        with mapped(), moves.sql.begin_nested():
            tasks.change(moves.sql, task, moves.now, results=results)
            _end(moves, task, State.FINISHED, None)
    except HaulbackError:
        return False
    return True


def offer(app: App, who: Node) -> list[Task]:
    """What the node may start now, the first first."""
    with app.store.read() as sql:
        now = app.clock.now_ms()
        found = queue.offer(sql, who.guid, now, app.limits)
        return [with_names(sql, task) for task in found]


def set_state(app: App, who: Node, guid: str, state: State, info: str | None) -> None:
    """Take a task, or end it.  Repeating what is true already changes nothing.

    Raises Conflict, Fenced, or Malformed for results that cannot be read.
    """
    with app.store.write() as sql:
        task = tasks.get(sql, guid, lock=True)
        if task.state == state.value and _is_mine(task, who):
            return
        if state is State.RUNNING:
            _take(app, sql, task, who)
            return
        if not state.final:
            raise Conflict("a node cannot put a task back into the queue")
        _check_mine(task, who)
        moves = app.life(sql)
        _end(moves, task, state, info)
        if task.state != State.FINISHED.value:
            app.tidy_node(sql, who.guid)
    app.bell.ring()


def _take(app: App, sql: sa.Connection, task: Task, who: Node) -> None:
    if task.state == PLANNED:
        raise Conflict("the task before this one has not finished")
    now = app.clock.now_ms()
    session = who.session or ""
    queue.take(sql, task, who.guid, session, now, now + app.lease_ms, app.limits)


def _end(moves: life.Life, task: Task, state: State, info: str | None) -> None:
    if state is State.FINISHED and task.cancel_wanted and tasks.followers(moves.sql, task.guid):
        state, info = State.CANCELLED, task.status_info  # what follows must not happen
    try:
        moves.end(task, state, info)
    except msgspec.ValidationError as error:
        raise Malformed(f"transfer-info of {task.type}: {error}") from None


class Order(msgspec.Struct):
    """What an attempt has to do."""

    attempt: int
    order: msgspec.Struct


def order(app: App, who: Node, guid: str) -> Order:
    """What to do exactly, as true now; only for the node that took the task."""
    with app.store.read() as sql:
        task = _mine(sql, who, guid)
        return Order(task.attempt, app.kinds[task.type].prepare(task, SqlCatalogue(sql)))


def report(app: App, who: Node, guid: str, **values: Any) -> Task:
    """Write members of a running task and renew its lease.  Progress never goes back."""
    with app.store.write() as sql:
        task = _mine(sql, who, guid, lock=True)
        if "progress" in values:
            values["progress"] = max(task.progress, min(100.0, values["progress"]))
        now = app.clock.now_ms()
        tasks.change(sql, task, now, lease_until=now + app.lease_ms, **values)
        return with_names(sql, task)


def add_results(app: App, who: Node, guid: str, more: dict[str, Any]) -> Task:
    """Add to what a running task reported so far, and renew its lease."""
    with app.store.write() as sql:
        task = _mine(sql, who, guid, lock=True)
        now = app.clock.now_ms()
        results = {**task.results, **more}
        tasks.change(sql, task, now, lease_until=now + app.lease_ms, results=results)
        return with_names(sql, task)


def add_log(app: App, who: Node, guid: str, lines: list[str]) -> None:
    """Add lines to the log of a running task."""
    with app.store.write() as sql:
        task = _mine(sql, who, guid, lock=True)
        reports.append_log(sql, task, app.clock.now_ms(), [line[:2000] for line in lines])


def state_for(app: App, who: Node, guid: str) -> Task:
    """The task as its owner must see it: a wish to cancel reads CANCELLED.  Raises Fenced."""
    with app.store.read() as sql:
        task = tasks.get(sql, guid)
        if task.state == State.RUNNING.value:
            _check_mine(task, who)
            if task.cancel_wanted:
                task.state = State.CANCELLED.value
        return task


def repository_key(app: App, who: Node, destination: str) -> bytes:
    """The key of a destination, for a node that reaches it.  Raises Forbidden."""
    with app.store.read() as sql:
        record = SqlCatalogue(sql).destination(destination)
        if record.node not in (None, who.guid):
            raise Forbidden(f"{record.name} is bound to another node")
        return app.vault.unseal(destination, catalogue.sealed_key(sql, destination))


def needed(app: App, names: list[str]) -> list[str]:
    """Those of `names` (attempts, checkpoints) that something still builds on."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql)
        return [name for name in names if known.is_needed(name)]


def _mine(sql: sa.Connection, who: Node, guid: str, *, lock: bool = False) -> Task:
    task = tasks.get(sql, guid, lock=lock)
    _check_mine(task, who)
    return task


def _check_mine(task: Task, who: Node) -> None:
    if task.state != State.RUNNING.value:
        raise Fenced(f"the task is {task.state}; this attempt is over", state=task.state)
    if not _is_mine(task, who):
        raise Fenced("another attempt runs this task; this one is over")


def _is_mine(task: Task, who: Node) -> bool:
    return task.session == who.session and who.attempt in (None, task.attempt)
