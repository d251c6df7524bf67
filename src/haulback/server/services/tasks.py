"""Task operations of users: submit, read, cancel and remove tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from haulback.contract.task_states import FINAL, State
from haulback.errors import Conflict, HaulbackError, Malformed
from haulback.kinds.api import Context, Submission
from haulback.logs import members
from haulback.server.caller import Caller
from haulback.server.queries import Filter
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import (
    bulk_removal,
    destination_owners,
    hold,
    lock_refusals,
    own_database,
    task_log,
)
from haulback.server.services.app import App
from haulback.server.services.recovery_run import plan_recovery
from haulback.server.store import audit, nodes, queue_pages, task_lifecycle, task_lists, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.nodes import with_node_name, with_node_names
from haulback.server.store.queue_position import QueueState
from haulback.tasks.record import LogRow, Plan, Refused, Task, Waiting
from haulback.tasks.states import check_move
from haulback.units import counted
from haulback.wire import Named, request

SORTS = sorted(task_lists.SORTS)  # members by which lists of tasks can be sorted
_LOG = logging.getLogger(__name__)

_SHOWN = 100  # tasks named in one audit entry
_PIECE = 500  # tasks of a long list that one query reads
ListedTask = tuple[Task, Waiting | None]  # the reason why a queued task waits


class RememberedResult(msgspec.Struct):
    """The result of a submission, which a repeated request receives again."""

    tasks: list[str]
    accepted: list[Named]
    refused: list[Refused]


class _Request(NamedTuple):
    """A request for new tasks; `marked` are the bytes that a repeated request must match."""

    operation: str
    marked: bytes
    who: Caller
    key: str | None

    def repeatable(self, key: str) -> audit.RepeatableRequest:
        return audit.RepeatableRequest(self.who.guid, key, self.marked)


def submit(app: App, way: Submission, body: bytes, who: Caller, key: str | None = None) -> Plan:
    """Plan and queue the tasks of a submission, all or none.

    A repeated `key` returns the same tasks.
    """
    wanted = request(body, way.request)

    def make(sql: Connection, context: Context) -> Plan:
        return way.plan(wanted, SqlCatalogue(sql, who.scope), context)

    return _queued(app, make, _submission(way, body, who, key))


def is_repeated(app: App, way: Submission, body: bytes, who: Caller, key: str | None) -> bool:
    """Whether a submission repeats another one with the same key, and thus makes no task.

    Raises Conflict if the key belongs to another request.
    """
    return _is_known(app, _submission(way, body, who, key))


def _submission(way: Submission, body: bytes, who: Caller, key: str | None) -> _Request:
    marked = f"{way.path}\0{_restriction(who.scope)}\0".encode() + body
    return _Request(f"submit {way.path}", marked, who, key)


def recover(app: App, guid: str, who: Caller, key: str | None = None) -> Plan:
    """Run a recovery plan.  Raises NotFound, Malformed or Conflict."""

    def make(sql: Connection, context: Context) -> Plan:
        return plan_recovery(guid, SqlCatalogue(sql, who.scope), context)

    return _queued(app, make, _run(guid, who, key))


def is_repeated_run(app: App, guid: str, who: Caller, key: str | None) -> bool:
    """Whether a run of a recovery plan repeats one with the same key.  Raises Conflict."""
    return _is_known(app, _run(guid, who, key))


def _run(guid: str, who: Caller, key: str | None) -> _Request:
    marked = f"{guid}\0{_restriction(who.scope)}".encode()
    return _Request("run recovery plan", marked, who, key)


def back_up_database(
    app: App, destination: str | None, who: Caller, key: str | None = None
) -> Plan:
    """Back up the server's own database.  Raises NotFound, Malformed or Conflict."""

    def make(sql: Connection, context: Context) -> Plan:
        return own_database.plan(sql, context, destination)

    marked = f"{destination or ''}\0{_restriction(who.scope)}".encode()
    return _queued(app, make, _Request("back up own database", marked, who, key))


def queue_plan(
    app: App, who: Caller, operation: str, make: Callable[[Connection, Context], Plan]
) -> Plan:
    """Queue the tasks that `make` plans, in one transaction with its audit entry."""
    return _queued(app, make, _Request(operation, b"", who, None))


def _restriction(scope: Scope) -> str:
    """The projects of a request as text: with other projects, the same key belongs to another
    request.
    """
    return str(scope.wanted) if scope.own is None else f"{scope.wanted} of {sorted(scope.own)}"


def _queued(app: App, make: object, asked: _Request) -> Plan:
    try:
        return _queue_once(app, make, asked)
    except Conflict as error:
        # The same request may have been sent twice at the same time: the other one has made the
        # tasks.
        before = asked.key and _recalled(app, asked.repeatable(asked.key))
        if not before:
            lock_refusals.tell(app, asked.who, error)
            raise
        return before


def _queue_once(app: App, make: Any, asked: _Request) -> Plan:
    who, operation = asked.who, asked.operation
    repeatable = asked.repeatable(asked.key) if asked.key else None
    if repeatable and (before := _recalled(app, repeatable)):
        return before
    with app.change(who, operation) as change:
        sql = change.sql
        context = Context(change.now, who.scope.project, nodes.windows(sql))
        plan: Plan = make(sql, context)
        hold.check(sql, app.kinds, plan)
        destination_owners.check(sql, plan)
        made_here = [*plan.besides, *plan.tasks]
        for task in made_here:
            task.refs["originEntity"] = who.origin
            if not who.scope.allows(task.project):
                raise Malformed(
                    "project-uuid: name one of your projects for the task",
                    field="project-uuid",
                )
        ledger = SqlLedger(sql, context.now)
        ledger.backups.begun(plan.backups, msgspec.to_builtins(who.origin))
        ledger.restores.begun(plan.restores)
        ledger.mounts.wanted(plan.mounts)
        tasks.insert(sql, made_here)
        for entity in plan.gone:
            ledger.removals.forget_entity(entity)
        for refused in plan.refused:
            lock_refusals.add(sql, who, refused.message, refused.details, context.now)
        heads = [task.guid for task in plan.heads]
        if repeatable:
            made = RememberedResult(heads, plan.accepted, plan.refused)
            audit.remember(sql, repeatable, msgspec.to_builtins(made), context.now)
        change.subject = heads[0] if heads else None
        change.after = {"tasks": heads[:_SHOWN], "count": len(heads)}
    _LOG.info(
        "tasks submitted", extra=members(by=who.name, operation=operation, count=len(made_here))
    )
    app.wakeups.ring_for(task.pinned_node for task in (*plan.besides, *plan.heads))
    return plan


def _is_known(app: App, asked: _Request) -> bool:
    return bool(asked.key and _recalled(app, asked.repeatable(asked.key)))


def _recalled(app: App, asked: audit.RepeatableRequest) -> Plan | None:
    with app.store.read() as sql:
        before = audit.recall(sql, asked)
        if before is None:
            return None
        made = msgspec.convert(before, RememberedResult)
        found = [task for guid in made.tasks if (task := tasks.find(sql, guid))]
        return Plan(found, accepted=made.accepted, refused=made.refused)


def page(app: App, wanted: Filter) -> tuple[list[ListedTask], int]:
    """A page of tasks and the number of all; -1 for a page by cursor, since the first page gave
    it.
    """
    with app.store.read() as sql:
        found, total = task_lists.page(sql, wanted)
        return _seen(with_node_names(sql, found), QueueState(sql, app.clock.now_ms())), total


def whole(app: App, wanted: Filter) -> Iterator[ListedTask]:
    """All tasks that a filter selects, a few at a time."""
    with app.store.snapshot() as sql:
        line = QueueState(sql, app.clock.now_ms())
        source = task_lists.stream(sql, wanted)
        while found := list(islice(source, _PIECE)):
            yield from _seen(with_node_names(sql, found), line)


def _seen(found: Sequence[Task], line: QueueState) -> list[ListedTask]:
    waits = line.stand(found)
    return [(task, waits.get(task.guid)) for task in found]


def look(app: App, guid: str, scope: Scope = EVERYTHING) -> ListedTask:
    """A task, and the reason why it waits if it is queued."""
    with app.store.read() as sql:
        task = tasks.visible(sql, guid, scope)
        return with_node_name(sql, task), waiting(app, sql, [task]).get(guid)


def waiting(app: App, sql: Connection, found: Sequence[Task]) -> dict[str, Waiting]:
    """The reasons why queued tasks wait, by guid."""
    return QueueState(sql, app.clock.now_ms()).stand(found)


def waits(app: App, found: Sequence[Task]) -> dict[str, Waiting]:
    """The reasons why queued tasks among `found` wait, by guid."""
    with app.store.read() as sql:
        return waiting(app, sql, found)


def count(app: App, wanted: Filter) -> int:
    """The number of tasks that a filter selects."""
    with app.store.read() as sql:
        return task_lists.count(sql, wanted)


def last_change(app: App, scope: Scope, reader: str | None) -> int:
    """The time (epoch ms) of the last change of a task; `reader` is the guid of a node."""
    with app.store.read() as sql:
        return task_lists.last_change(sql, scope, reader)


def check_reader(app: App, guid: str, node: str) -> None:
    """Raise NotFound for a task that a node neither runs, ran nor may take."""
    with app.store.read() as sql:
        tasks.of_node(sql, guid, node)


def task(app: App, guid: str, scope: Scope) -> Task:
    """A task, also a task that was removed from the lists.  Raises NotFound."""
    with app.store.read() as sql:
        return tasks.get(sql, guid, scope)


def next_cursor(wanted: Filter, found: list[Task]) -> str | None:
    """The cursor of the page after `found`, None after the last page."""
    return task_lists.next_cursor(wanted, found)


def queued(app: App, projects: frozenset[str] | None, node: str | None, most: int) -> list[Task]:
    """Queued tasks of some projects (None: of all) that a given node, or any node, may take."""
    with app.store.read() as sql:
        return with_node_names(sql, queue_pages.first(sql, projects, node, most))


def workflow(app: App, task: Task) -> list[Task]:
    """All tasks of the plan of a task, with planned tasks."""
    with app.store.read() as sql:
        return with_node_names(sql, task_lifecycle.plan_of(sql, task.workflow))


def log(app: App, guid: str, scope: Scope = EVERYTHING) -> list[LogRow]:
    """The log of a task, also after the task was removed from the lists; never empty."""
    with app.store.read() as sql:
        task = with_node_name(sql, tasks.get(sql, guid, scope))
        why = waiting(app, sql, [task]).get(guid)
        return task_log.log_lines(task, task_lists.log(sql, guid), why)


def set_state(app: App, who: Caller, guid: str, state: State, info: str | None) -> None:
    """Cancel a task, or leave a queued task QUEUED: users set no other state.

    Raises Forbidden or Conflict for any other state.
    """
    with app.change(who, f"set state {state.value}", guid) as change:
        line = _set_state(app, change.sql, who, guid, (state, info))
        change.silent = line is None
        _, change.before, change.after = line or (guid, None, None)


def _set_state(
    app: App, sql: Connection, who: Caller, guid: str, wanted: tuple[State, str | None]
) -> audit.AuditLine | None:
    task = tasks.visible(sql, guid, who.scope, lock=True)
    before, (state, info) = task.state, wanted
    check_move(State[before], state, f"the {task.type} {task.guid}")
    if state is State.CANCELLED:
        _cancel(app, app.task_changes(sql), task, info)
    return None if state is State.QUEUED else (guid, before, task.state)


def set_states(app: App, who: Caller, guids: list[str], state: State, info: str | None) -> None:
    """Cancel many tasks, one by one.

    Raises Conflict, with the refused tasks in its details.
    """
    operation = f"set state {state.value}"

    def move(sql: Connection, guid: str) -> audit.AuditLine | None:
        return _set_state(app, sql, who, guid, (state, info))

    check_refused(bulk_removal.each(app, who, operation, guids, move))


def one_by_one(guids: Iterable[str], move: Any) -> None:
    """Change many tasks one by one; a refusal does not stop the others.

    Raises Conflict at the end, with `refused` in its details.
    """
    refused = []
    for guid in guids:
        try:
            move(guid)
        except HaulbackError as error:
            refused.append((guid, error))
    check_refused(refused)


def check_refused(refused: Sequence[bulk_removal.Refusal]) -> None:
    """Raises Conflict with the tasks that were not changed and the reasons."""
    if refused:
        shown = [
            {"guid": guid, "code": error.code, "message": error.message}
            for guid, error in refused[:1000]
        ]
        many = f"{counted(len(refused), 'task')} not changed: {refused[0][1].message}"
        raise Conflict(many, refused=shown)


def remove(app: App, who: Caller, guid: str) -> str | None:
    """Remove a task from the lists; a running task is cancelled; a second request ends it by force.

    Returns the possible leftovers of a task that was ended by force.
    """
    left = None
    with app.change(who, "remove task", guid) as change:
        task = tasks.visible(change.sql, guid, who.scope, lock=True)
        change.before = task.state
        moves = app.task_changes(change.sql)
        if State[task.state] in FINAL:
            moves.hide(task)
        else:
            left = _left_behind(task)
            _cancel(app, moves, task, "cancelled by a user", hidden=True)
            change.after = task.state
            if task.state == State.RUNNING.value:
                return None
        change.after = {"state": task.state, "removed": True}
        change.after |= {"leftBehind": left} if left else {}
    return left


def _left_behind(task: Task) -> str | None:
    """A sentence about files that a task ended by force may leave, None for no files."""
    if task.state != State.RUNNING.value or not task.cancel_wanted:
        return None
    return f"attempt {task.attempt_name} on node {task.node}: STAGING_CLEANUP removes the rest"


def _cancel(
    app: App,
    moves: task_lifecycle.TaskChanges,
    task: Task,
    info: str | None,
    *,
    hidden: bool = False,
) -> None:
    if task.state == State.RUNNING.value and task.cancel_wanted:
        line = f"cancelled by force; leftovers: {_left_behind(task)}"
        task_lists.append_log(moves.sql, task, moves.now, [line])
        moves.cancel(task, f"{info or 'cancelled by a user'}; {line}", hidden=hidden)
    else:
        moves.cancel(task, info or "cancelled by a user", hidden=hidden)
    if task.state == State.CANCELLED.value:
        app.tidy_after(moves.sql, task)
    app.wakeups.ring()
