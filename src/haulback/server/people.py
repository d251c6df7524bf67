"""What people do with tasks: ask for work, look, cancel, remove."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from haulback.kinds.seam import Ask, Submission
from haulback.server.app import App
from haulback.server.store import life, queue, reports, tasks
from haulback.server.store.catalogue import SqlCatalogue, SqlLedger, with_names
from haulback.server.store.reports import Filter, LogLine
from haulback.tasks.record import Task
from haulback.tasks.states import FINAL, State, check_move
from haulback.wire import Named, label, request

_USER = "USER"


def submit(app: App, way: Submission, body: bytes, who: Named, project: str | None) -> list[Task]:
    """Plan and queue, all of it or nothing; the head tasks in request order."""
    wanted = request(body, way.request)
    ask = Ask(app.clock.now_ms(), project)
    with app.store.write() as sql:
        plan = way.plan(wanted, SqlCatalogue(sql), ask)
        for task in plan.tasks:
            task.refs["originEntity"] = Named(who.guid, who.name, label(_USER))
        SqlLedger(sql, ask.now).begun(plan.backups)
        tasks.insert(sql, plan.tasks)
    app.bell.ring()
    return plan.heads


def page(app: App, wanted: Filter) -> tuple[list[Task], int]:
    """A page of tasks and how many there are."""
    with app.store.read() as sql:
        found, total = reports.page(sql, wanted)
        return [with_names(sql, task) for task in found], total


def look(app: App, guid: str) -> tuple[Task, str | None]:
    """A task, and why it waits if it does."""
    with app.store.read() as sql:
        task = tasks.visible(sql, guid)
        why = queue.why_waiting(sql, task, app.clock.now_ms())
        return with_names(sql, task), why


def workflow(app: App, task: Task) -> list[Task]:
    """All tasks of the plan that a task belongs to, those still planned included."""
    with app.store.read() as sql:
        return life.plan_of(sql, task.workflow)


def log(app: App, guid: str) -> list[LogLine]:
    """What the node said while it worked, also after the task was removed from the lists."""
    with app.store.read() as sql:
        return reports.log(sql, tasks.get(sql, guid).guid)


def set_state(app: App, guid: str, state: State, info: str | None) -> None:
    """What a person may set: CANCELLED.  Raises Forbidden or Conflict for anything else."""
    with app.store.write() as sql:
        task = tasks.visible(sql, guid, lock=True)
        check_move(State[task.state], state, by_node=False)
        _cancel(app, app.life(sql), task, info)


def remove(app: App, guid: str) -> None:
    """Take a task off the lists; one that runs is cancelled, at the second asking by force."""
    with app.store.write() as sql:
        task = tasks.visible(sql, guid, lock=True)
        moves = app.life(sql)
        if State[task.state] not in FINAL:
            was_queued = task.state == State.QUEUED.value
            _cancel(app, moves, task, "cancelled by a user")
            if not was_queued:
                return
        moves.hide(task)


def remove_some(app: App, guids: Iterable[str], states: Collection[State]) -> None:
    """Remove, or cancel if running, those of the tasks that are in one of `states`."""
    for guid in guids:
        with app.store.write() as sql:
            task = tasks.find(sql, guid, lock=True)
            if task is None or task.archived or task.state not in {s.value for s in states}:
                continue
            moves = app.life(sql)
            if task.state == State.RUNNING.value:
                if not task.cancel_wanted:
                    moves.cancel(task, "cancelled by a user")
                continue
            if task.state == State.QUEUED.value:
                _cancel(app, moves, task, None)
            moves.hide(task)


def remove_all(app: App, states: Collection[State], project: str | None) -> None:
    """The same for every task, a page at a time."""
    names = [state.value for state in states]
    wanted = Filter(states=names, project=project, unwished=True, size=500)
    while found := page(app, wanted)[0]:
        remove_some(app, [task.guid for task in found], states)


def _cancel(app: App, moves: life.Life, task: Task, info: str | None) -> None:
    moves.cancel(task, info or "cancelled by a user")
    if task.state == State.CANCELLED.value:
        app.tidy_after(moves.sql, task)
    app.bell.ring()
