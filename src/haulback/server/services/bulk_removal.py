"""Removal and cancellation of many tasks, in transactions of bounded time.

Each piece is a transaction.  The server answers after the last piece; a server that stops finishes
the current piece and reports the number of finished tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from haulback.contract.task_states import FINAL, State
from haulback.errors import HaulbackError, Unavailable
from haulback.server.caller import Caller
from haulback.server.queries import Filter
from haulback.server.services.app import App
from haulback.server.store import audit, task_lists, tasks
from haulback.server.store.engine import Connection
from haulback.tasks.record import Task

_AIM = 0.1  # seconds for one piece, because SQLite has only one writer at a time
_ALONE = 0.4  # seconds for one piece on PostgreSQL, which locks only rows
_FIRST, _MOST = 50, 4000
_FINAL = frozenset(state.value for state in FINAL)
Piece = Callable[[Sequence[str]], None]
Move = Callable[[Connection, str], audit.AuditLine | None]
Refusal = tuple[str, HaulbackError]


def in_pieces(app: App, guids: Iterable[str], work: Piece) -> None:
    """Call `work` for all guids, in pieces that fit into the time limit.

    Raises Unavailable when the server stops, and the errors of `work`.
    """
    left = list(dict.fromkeys(guids))
    at, size, aim = 0, _FIRST, _AIM if app.store.is_sqlite else _ALONE
    while at < len(left):
        if app.wakeups.is_over:
            raise Unavailable(
                f"the server stops after {at} of {len(left)} objects; send the request again"
            )
        begun = time.monotonic()
        try:
            work(left[at : at + size])
        except Unavailable:
            if size == 1:
                raise
            size = 1  # a deadlock of two pieces; single tasks cannot deadlock
            continue
        at += size
        took = time.monotonic() - begun
        size = size * 2 if took < aim / 2 else size if took < aim else size // 2
        size = max(1, min(_MOST, size))


def remove_some(app: App, who: Caller, guids: Iterable[str], states: Collection[State]) -> None:
    """Remove the tasks that are in one of `states`; running tasks are cancelled."""
    wanted = {state.value for state in states}
    in_pieces(app, guids, lambda piece: _remove(app, who, piece, wanted))


def remove_all(app: App, who: Caller, states: Collection[State]) -> None:
    """Remove every task that the caller sees in one of `states`; running tasks are cancelled."""
    names = [state.value for state in states]
    with app.store.read() as sql:
        found = task_lists.guids(sql, Filter(states=names, scope=who.scope, unwished=True))
    remove_some(app, who, found, states)


def _remove(app: App, who: Caller, guids: Sequence[str], states: set[str]) -> None:
    by = tasks.BulkCaller(who.guid, who.name, "remove selected task", who.scope)
    with app.store.write() as sql:
        now = app.clock.now_ms()
        tasks.hide_ended(sql, guids, states & _FINAL, by, now)
        live = tasks.in_states(sql, guids, states - _FINAL, who.scope)
        lines = [line for task in live if (line := _end(app, sql, task))]
        audit.write_many(sql, now, (by.guid, by.name), by.operation, lines)
    if live:
        app.wakeups.ring()


def _end(app: App, sql: Connection, task: Task) -> audit.AuditLine | None:
    """Cancel a queued or running task; a queued task is hidden from lists as well."""
    moves, before = app.task_changes(sql), task.state
    if before == State.RUNNING.value:
        if task.cancel_wanted:
            return None
        moves.cancel(task, "cancelled by a user")
        return task.guid, before, "cancelling"
    moves.cancel(task, "cancelled by a user", hidden=True)
    app.tidy_after(sql, task)
    return task.guid, before, {"state": task.state, "removed": True}


def each(app: App, who: Caller, operation: str, guids: Iterable[str], move: Move) -> list[Refusal]:
    """Change many tasks one by one; a refusal does not stop the others.  Returns the refusals."""
    refused: list[Refusal] = []
    by = (who.guid, who.name)

    def piece(some: Sequence[str]) -> None:
        with app.store.write() as sql:
            moved = [_alone(app, sql, guid, move) for guid in some]
            lines = [item for item in moved if isinstance(item, tuple)]
            audit.write_many(sql, app.clock.now_ms(), by, operation, lines)
        refused.extend(
            (guid, item)
            for guid, item in zip(some, moved, strict=True)
            if isinstance(item, Exception)
        )

    in_pieces(app, guids, piece)
    return refused


def _alone(
    app: App, sql: Connection, guid: str, move: Move
) -> audit.AuditLine | HaulbackError | None:
    """Change the state of a task, or roll its changes back.

    Raises Unavailable, which is no refusal of this task.
    """
    try:
        with app.store.savepoint(sql):
            return move(sql, guid)
    except Unavailable:
        raise
    except HaulbackError as error:
        return error
