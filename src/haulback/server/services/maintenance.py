"""Maintenance: the periodic services, such as opening start windows and ending lost attempts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from haulback.contract.task_states import State
from haulback.errors import HaulbackError, NotFound, Unavailable
from haulback.kinds.api import Context
from haulback.kinds.support import conflicts, unmount_task
from haulback.logs import members
from haulback.server.services import (
    assignment,
    breakers,
    clock_change,
    daily_reports,
    database_stream,
    delivery,
    destination_sync,
    events,
    fires,
    giving_up,
    health_events,
    lost_staging,
    protection,
    retention_plan,
    space,
    system_schedules,
    verification,
    waiting_readers,
)
from haulback.server.services import hold as held_server
from haulback.server.services.app import App
from haulback.server.store import (
    audit,
    due_work,
    hold,
    mounts,
    nodes,
    outbox,
    queue,
    task_lifecycle,
    task_lists,
    tasks,
)
from haulback.server.store import protection as protection_store
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.due_work import Ages, DueWork
from haulback.server.store.engine import Connection
from haulback.tasks.record import Task
from haulback.units import utc

_JUMP_MS = 1_000  # a larger difference means that the system's clock was set
LISTED_MS = 14 * 86_400_000  # time for which an ended task stays on the lists
KEEP_MS = 30 * 86_400_000  # time for which a hidden task keeps its log and rate
log = logging.getLogger(__name__)


def start(app: App) -> None:
    """Restart all leases before the first request: nodes could not renew them meanwhile."""
    database_stream.remove_leftovers(app)
    with app.store.write() as sql:
        now = app.clock.now_ms()
        if (last := task_lists.last_change(sql)) > now:
            _set_back(app, sql, last - now)
        task_lifecycle.shift_leases(sql, now + app.lease_ms)
    clock_change.follow_back(app)
    clock_change.wind_all(app)
    system_schedules.ensure(app)


def tick(app: App) -> None:
    """Run all steps of maintenance once."""
    follow_the_clock(app)
    due = _due(app)
    opened = _open_windows(app) if due.opens else 0
    lost = _end_lost(app) if due.lost else 0
    if due.late:
        _end_late(app)
    if due.cancels:
        _end_stubborn(app)
    if due.archives or due.forgets or due.keys:
        _forget(app)
    for step in (
        events.forget,
        delivery.forget,
        health_events.look,
        assignment.continue_evaluations,
    ):
        _run_step(app, step)
    opened += _run_step(app, breakers.test_due)
    opened += _run_step(app, space.test_due)
    opened += _run_step(app, waiting_readers.move_due)
    if held_server.is_held(app):
        opened += _run_step(app, held_server.tend)
    else:
        opened += _run_step(app, lost_staging.move_due)
        opened += _run_step(app, fires.run_due)
    opened += _run_step(app, _maintain_repositories)
    for step in (protection.keep_current, daily_reports.send_due):
        _run_step(app, step)
    if mounts_due := due.mounts and _unmount(app):
        log.info("mounted backups reached their unmount time", extra=members(count=mounts_due))
    if opened or lost or mounts_due:
        app.wakeups.ring()
    app.wakeups.ring_rest()


def _run_step(app: App, step: Callable[[App], int | None]) -> int:
    """Run a step; a lasting error of one step must not stop schedules and retention."""
    name = f"{step.__module__}.{step.__qualname__}"
    try:
        result = step(app) or 0
    except Unavailable:
        raise  # the database does not answer: no step can run
    except Exception:
        if name not in app.failed_steps:  # log an error once, not every second
            log.exception("a step of the maintenance failed: %s", name)
        app.failed_steps.add(name)
        return 0
    app.failed_steps.discard(name)
    return result


def _due(app: App) -> DueWork:
    with app.store.read() as sql:
        now = app.clock.now_ms()
        return due_work.check(sql, now, Ages(now - LISTED_MS, now - KEEP_MS, now - audit.KEPT_MS))


def _maintain_repositories(app: App) -> int:
    """Run the due steps of the maintenance of repositories; returns the number of opened tasks."""
    return sum(_run_step(app, step) for step in _due_steps(app))


def _due_steps(app: App) -> list[Callable[[App], int | None]]:
    """The steps of the maintenance of repositories that are due; a held server plans no task."""
    with app.store.read() as sql:
        due = due_work.maintenance(sql, app.clock.now_ms())
        plans = any(due[:3]) and not hold.is_held(sql)
    steps: list[tuple[bool, Callable[[App], int | None]]] = [
        (plans and due.verifies, verification.plan_due),
        (plans and due.copies, destination_sync.plan_due),
        (plans and due.judges, retention_plan.run_due),
        (due.gives_up, giving_up.continue_all),
    ]
    return [step for is_due, step in steps if is_due]


def _open_windows(app: App) -> int:
    with app.store.write() as sql:
        return queue.open_windows(sql, app.clock.now_ms())


def _forget(app: App) -> None:
    """Remove ended tasks from the lists, and delete old rows, some in each tick."""
    with app.store.write() as sql:
        now = app.clock.now_ms()
        tasks.archive(sql, now, now - LISTED_MS)
        tasks.forget(sql, now - KEEP_MS)
        audit.forget(sql, now)


def follow_the_clock(app: App) -> None:
    """Adopt the time of a clock that was set, without expiring leases."""
    if abs(app.clock.drift_ms()) < _JUMP_MS:
        return
    with app.store.write() as sql:
        drift = app.clock.drift_ms()
        app.clock.adopt()
        log.warning("the clock of the server was changed by %d ms; all leases start again", drift)
        if drift < 0:
            _set_back(app, sql, -drift)
        task_lifecycle.shift_leases(sql, app.clock.now_ms() + app.lease_ms)
    if drift < 0:
        clock_change.follow_back(app)


def _set_back(app: App, sql: Connection, step: int) -> None:
    """Move times back that were computed before the clock was set back."""
    now = app.clock.now_ms()
    queue.follow_back(sql, now, step)
    outbox.follow_back(sql, now, step)
    protection_store.judge_late(sql)


def _silence(sql: Connection, guid: str | None) -> str:
    """The reason why an attempt is lost: the name of its node, and the beginning of the node's
    silence.
    """
    try:
        node = nodes.one_node(sql, guid or "")
    except NotFound:
        return "the node of the task was removed"
    return f"the node {node.name} has been silent since {utc(node.seen or 0)}"


def _end_lost(app: App) -> int:
    with app.store.write() as sql:
        moves = app.task_changes(sql)
        found = task_lifecycle.expired(sql, moves.now)
        for task in found:
            with _alone(app, sql, task):
                node = task.node
                moves.lost(task, _silence(sql, node))
                app.tidy_node(sql, node)
    return len(found)


def _end_late(app: App) -> None:
    with app.store.write() as sql:
        moves = app.task_changes(sql)
        for task in queue.closed_windows(sql, moves.now):
            with _alone(app, sql, task):
                moves.end(
                    task,
                    State.FAILED,
                    "WINDOW_EXPIRED: no node started the task in its start window",
                )
                app.tidy_after(sql, task)


def _end_stubborn(app: App) -> None:
    """End the cancelled tasks that an active node did not stop in time."""
    with app.store.write() as sql:
        moves = app.task_changes(sql)
        for task in task_lifecycle.overdue(sql, moves.now):
            left = f"attempt {task.attempt_name} on node {task.node}"
            why = f"{task.status_info}; the node did not confirm in time; leftovers: {left}"
            with _alone(app, sql, task):
                moves.end(task, State.CANCELLED, why)
                app.tidy_after(sql, task)


def _unmount(app: App) -> int:
    """Plan UNMOUNT tasks for mounts whose time has ended."""
    with app.store.read() as sql:
        # A restored database may not know that a user has extended a mount.
        if not mounts.due(sql, app.clock.now_ms()) or hold.is_held(sql):
            return 0
    with app.store.write() as sql:
        now, known = app.clock.now_ms(), SqlCatalogue(sql)
        # Two servers may read the same mounts: both lock them in the order of guids, so that the
        # second server sees the tasks of the first server once the lock is free.
        free = [guid for guid in sorted(mounts.due(sql, now)) if conflicts.is_free(guid, known)]
        due = [known.mounts.get(guid) for guid in set(mounts.due(sql, now)).intersection(free)]
        tasks.insert(sql, [unmount_task.task(mount, known, Context(now)) for mount in due])
    return len(due)


@contextmanager
def _alone(app: App, sql: Any, task: Task) -> Iterator[None]:
    """End each task separately; an error of one task must not stop the others."""
    try:
        with app.store.savepoint(sql):
            yield
    except Exception:
        log.exception("task cannot be ended", extra=members(task=task.guid))


class Maintenance(Thread):
    """The maintenance thread; a failed step is repeated at the next tick."""

    def __init__(self, app: App, every: float) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._core, self._every, self._stop_now = app, every, Event()
        self._said = ""

    def run(self) -> None:
        while not self._stop_now.wait(self._every):
            try:
                tick(self._core)
                self._said = ""
            except HaulbackError as error:
                if error.message != self._said:  # log an error once, not every second
                    log.error("the maintenance failed: %s", error.message)
                self._said = error.message
            except Exception:
                log.exception("the maintenance failed")

    def stop(self) -> None:
        self._stop_now.set()
        self.join()
