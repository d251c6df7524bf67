"""Changes of the state of tasks, with all records that change in the same transaction."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from haulback.contract.task_states import State
from haulback.errors import BaseGone, Conflict, Malformed
from haulback.kinds.api import TaskKind
from haulback.logs import members
from haulback.server.store import breakers, events, fires, owner_ledger, queue, task_lists, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.proof_ledger import Signer
from haulback.server.store.tables import task as table
from haulback.tasks import end_events, endings
from haulback.tasks.endings import CANCEL_BY, Ending, Outcome
from haulback.tasks.record import Task
from haulback.tasks.scheduling import MAX_ATTEMPTS
from haulback.units import counted, utc

log = logging.getLogger(__name__)
Limits = Mapping[str, int]
CANCEL_MS = 600_000  # time after which the server stops waiting for the node's clean-up
_CHANCE = random.Random()
_BEGUN_AGAIN = "the base of the increment was removed; another backup replaces the increment"


class TaskChanges:
    """Changes of the state of tasks on one connection, at the server time `now`."""

    def __init__(
        self, connection: sa.Connection, kinds: Mapping[str, TaskKind], now: int, sign: Signer
    ) -> None:
        self.sql, self.kinds, self.now = connection, kinds, now
        self.ledger = SqlLedger(connection, now, sign)

    def take(
        self, wanted: Sequence[Task], node: str, session: str, lease: int, limits: Limits
    ) -> None:
        """Give queued tasks to a session.  Raises Conflict if a task cannot start."""
        held = queue.NodeLease(node, session, self.now + lease, limits)
        queue.take(self.sql, wanted, held, self.now)
        for task in wanted:
            self.kinds[task.type].start(task, self.ledger, SqlCatalogue(self.sql))
            _tell("task taken", task)

    def finish(self, done: Sequence[Task]) -> None:
        """End many successful tasks, in as few statements as possible."""
        if tasks.have_followers(self.sql, [task.guid for task in done]):
            for task in done:
                self.end(task, State.FINISHED, None)
            return
        held = [key for task in done for key in task.slots]
        changes = [(task, endings.ended(task, State.FINISHED, None, self.now)) for task in done]
        self._apply(Outcome(changes, [], [(task, State.FINISHED) for task in done], held))

    def end(self, task: Task, state: State, info: str | None, *, hidden: bool = False) -> None:
        """Write final state, backup record, followers, retry copy and limits, all or none.

        A finished task whose cancellation was requested ends as CANCELLED if it has followers.
        `hidden` is true if an ended task is hidden from lists.
        """
        below = tasks.below(self.sql, task.guid, deep=state is not State.FINISHED)
        if state is State.FINISHED and task.cancel_wanted and below:
            self.end(task, State.CANCELLED, task.status_info, hidden=hidden)
            return
        stages = self.kinds[task.type].stages
        outcome = self._outcome(Ending(task, state, info, below, stages, hidden))
        self._apply(outcome, Ending(task, state, info))
        if state is State.FAILED and not outcome.new:
            self._fail_the_rest(task)

    def _outcome(self, ending: Ending) -> Outcome:
        """The consequences of an ending; a failed task may be queued again."""
        task = ending.task
        if ending.state is State.FAILED and not task.cancel_wanted:
            if self._may_repeat(task):
                first = tasks.get(self.sql, task.follows or "")
                backup = self.ledger.backups.begun_again(task.ref("backup") or "", _BEGUN_AGAIN)
                return endings.repeated(ending, first, backup, self.now)
            kind = self.kinds[task.type]
            if kind.retries and task.retry_count > 0:
                lasting = {key: task.results[key] for key in kind.lasting & task.results.keys()}
                return endings.retried(ending, self.now, _CHANCE, lasting)
        return endings.over(ending, self.now)

    def _apply(self, outcome: Outcome, replaced: Ending | None = None) -> None:
        """Write the result of an ending: every row once, then the records of the ended tasks."""
        tasks.change_rows(self.sql, outcome.changes, outcome.new, self.now)
        if replaced and outcome.new:  # damage is recorded even if the task is queued again
            self.ledger.damage.reported(replaced.task, replaced.state)
            _tell("task ended", replaced.task, state=replaced.state.value, info=replaced.info)
            event = end_events.of_task(replaced.task, replaced.state, self.now, retried=True)
            events.add(self.sql, event)
            self._link(replaced, outcome.new)
        for task, state in outcome.settled:
            self._settle(task, state)
            _tell("task ended", task, state=state.value, info=task.status_info)
        self._count(outcome, replaced)
        ends = [end_events.of_task(task, state, self.now) for task, state in outcome.settled]
        for task, state in outcome.settled:
            ends += end_events.troubles(task, state, self.now)
        events.add_many(self.sql, ends)
        queue.release(self.sql, outcome.freed)

    def _link(self, replaced: Ending, new: Sequence[Task]) -> None:
        """Name the new tasks in the log of a failed task, and the failed task in their logs."""
        old = replaced.task
        names = ", ".join(f"{task.type} {task.guid}" for task in new)
        start = utc(max(self.now, new[0].window_start))
        self._note(old, f"another attempt follows from {start}: {names}")
        for task in new:
            self._note(task, f"{old.type} {old.guid} failed and is repeated: {replaced.info}")

    def _note(self, task: Task, line: str) -> None:
        """Add a line to the log of a task."""
        task_lists.append_log(self.sql, task, self.now, [line])

    def _count(self, outcome: Outcome, replaced: Ending | None) -> None:
        """Count the ends in the breakers of destinations, including those of retried tasks.

        Breakers are locked before limit rows, here and when a task is taken.
        """
        ends = list(outcome.settled)
        if replaced and outcome.new:
            ends.append((replaced.task, replaced.state))
        breakers.count(self.sql, self.ledger.alarms, ends, self.now)

    def _settle(self, task: Task, state: State) -> None:
        """Change the records of an ended task.  Raises Malformed for an unreadable report."""
        self.ledger.damage.reported(task, state)
        owner_ledger.reported(self.sql, self.now, task)
        try:
            self.kinds[task.type].settle(task, state, self.ledger)
        except msgspec.ValidationError as error:
            raise Malformed(f"transfer-info of {task.type}: {error}") from None

    def cancel(self, task: Task, info: str | None, *, hidden: bool = False) -> None:
        """Cancel a task; a queued task ends at once.

        The node cancels a running task; a second request makes the server cancel it.

        `hidden` is true if a task that ends is hidden from lists.
        """
        if task.state == "RUNNING" and not task.cancel_wanted:
            params = {**task.params, CANCEL_BY: self.now + CANCEL_MS}
            tasks.change(
                self.sql, task, self.now, cancel_wanted=True, status_info=info, params=params
            )
        else:
            self.end(task, State.CANCELLED, info, hidden=hidden)

    def hide(self, task: Task) -> None:
        """Remove a task from all lists; its row stays for callers that know its guid."""
        tasks.change(self.sql, task, self.now, archived=True)

    def lost(self, task: Task, why: str) -> None:
        """End an attempt whose node is silent: queue the task again, or fail the task."""
        if task.cancel_wanted:
            self.end(task, State.CANCELLED, task.status_info)
        elif not self.kinds[task.type].repeatable:
            self.end(
                task,
                State.FAILED,
                f"{why}; check the result of the task, then submit it again if needed, "
                "because a second run may not be safe",
            )
        elif task.tries_made >= MAX_ATTEMPTS:
            self.end(task, State.FAILED, f"{why}, for the {task.tries_made}th time")
        else:
            self.requeue(task, why)

    def give_back(self, task: Task, why: str) -> None:
        """Queue again a task that its node returned.

        Raises Conflict for a task that cannot run again.
        """
        if not self.kinds[task.type].repeatable:
            raise Conflict(
                f"a task of type {task.type} cannot run again from its start; report FAILED instead"
            )
        if task.cancel_wanted:
            raise Conflict("a user cancelled the task; remove its leftovers, then report CANCELLED")
        self.requeue(task, why)

    def requeue(self, task: Task, why: str) -> None:
        """Queue a task for another attempt, with a new start window."""
        _tell("the task is queued again", task, info=why)
        self._apply(endings.requeued(task, why, self.now))
        self._note(task, f"attempt {task.tries_made} has ended: {why}; the task is queued again")

    def begin_again(self, task: Task, why: str) -> None:
        """Fail a waiting task, and restart its plan with a copy of its first task."""
        below = tasks.below(self.sql, task.guid, deep=True)
        ending = Ending(task, State.FAILED, why, below)
        first = tasks.get(self.sql, task.follows or "")
        backup = self.ledger.backups.begun_again(task.ref("backup") or "", why)
        outcome = endings.repeated(ending, first, backup, self.now)
        self._apply(outcome, Ending(task, State.FAILED, why))

    def _may_repeat(self, task: Task) -> bool:
        """Whether a plan whose STORE lost its base can be restarted."""
        # A copy or an IMPORT that lost a base has no plan that could make its backup again.
        gone = task.type == "STORE" and task.results.get("failure") == BaseGone.code
        first = bool(task.follows) and not task.params.get("repeated")
        return gone and first

    def judge_run(self, run: str) -> None:
        """Apply the thresholds of a run whose tasks are all planned."""
        for task in queue.failed_of_run(self.sql, run):
            self._fail_the_rest(task)

    def _fail_the_rest(self, task: Task) -> None:
        """Fail the waiting tasks of a run in which too many have failed already."""
        most = task.params.get("thresholds", {}).get(task.type)
        if most is None or not task.run:
            return
        if fires.is_planning(self.sql, task.run):
            return  # while a run is planned, its number of machines is not known
        failed, total = queue.share_failed(self.sql, task.run, task.type)
        if 100 * failed <= most * total:
            return
        why = f"THRESHOLD: {failed} of {counted(total, f'{task.type} task')} of this run failed"
        for other in queue.waiting_of_run(self.sql, task.run, task.type):
            other.params.pop("thresholds", None)  # the other tasks fail in one statement
            other.retry_count = 0
            self.end(other, State.FAILED, why)


def _tell(event: str, task: Task, **more: str | None) -> None:
    """Log the change of a task's state.  The line is written before the commit; if the change is
    rolled back, the line of the error follows.
    """
    if log.isEnabledFor(logging.INFO):
        about = {"task": task.guid, "type": task.type, "attempt": task.attempt, "node": task.node}
        log.info(event, extra=members(**about, **more))


def expired(connection: sa.Connection, now: int, limit: int = 100) -> list[Task]:
    """Running tasks whose lease has expired, locked."""
    query = sa.select(*tasks.COLUMNS).where(sa.text("state = 'RUNNING'"), table.c.lease_until < now)
    rows = connection.execute(query.limit(limit).with_for_update())
    return [tasks.task_of(row) for row in rows]


def overdue(connection: sa.Connection, now: int) -> list[Task]:
    """Running tasks that their node did not cancel in time, locked."""
    query = sa.select(*tasks.COLUMNS).where(sa.text("state = 'RUNNING'"), table.c.cancel_wanted)
    rows = connection.execute(query.with_for_update())
    found = [tasks.task_of(row) for row in rows]
    return [task for task in found if task.params.get(CANCEL_BY, now + 1) <= now]


def of_session(connection: sa.Connection, session: str) -> list[Task]:
    """Running tasks of a node's session, locked."""
    query = sa.select(*tasks.COLUMNS).where(
        sa.text("state = 'RUNNING'"), table.c.session == session
    )
    return [tasks.task_of(row) for row in connection.execute(query.with_for_update())]


def end_pinned(connection: sa.Connection, moves: TaskChanges, node: str, state: State) -> None:
    """End the queued tasks that only one node could run."""
    query = sa.select(*tasks.COLUMNS).where(table.c.state == "QUEUED", table.c.pinned_node == node)
    for row in connection.execute(query.with_for_update()).all():
        task = tasks.task_of(row)
        task.retry_count = 0  # no other node can run the task
        moves.end(task, state, "the node of the task was removed")


def shift_leases(connection: sa.Connection, until: int) -> None:
    """Renew all leases, because no node could renew its lease while no server ran or the clock was
    wrong.
    """
    connection.execute(
        sa.update(table).where(sa.text("state = 'RUNNING'")).values(lease_until=until)
    )


def plan_of(connection: sa.Connection, workflow: str) -> list[Task]:
    """All tasks of a workflow, including planned ones, in the order of execution."""
    query = sa.select(*tasks.COLUMNS).where(table.c.workflow == workflow)
    result = [tasks.task_of(row) for row in connection.execute(query)]
    before = {task.guid: task.follows for task in result}

    def place(task: Task) -> tuple[int, int, str]:
        depth, guid = 0, before[task.guid]
        while guid is not None:
            depth, guid = depth + 1, before.get(guid)
        return depth, task.created, task.guid

    return sorted(result, key=place)
