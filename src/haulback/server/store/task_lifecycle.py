"""How a task leaves a state, with everything that moves in the same transaction."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.contract.task_states import State
from haulback.errors import BaseGone
from haulback.ids import new_guid
from haulback.kinds.api import TaskKind
from haulback.logs import members
from haulback.server.store import queue, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.proof_ledger import Sign
from haulback.server.store.tables import task as table
from haulback.tasks.record import Task
from haulback.tasks.scheduling import MAX_ATTEMPTS, back_off, rank

log = logging.getLogger(__name__)
Limits = Mapping[str, int]
CANCEL_MS = 600_000  # a node that has not cleaned up by then is no longer waited for
_CANCEL_BY = "cancelBy"
_CHANCE = random.Random()


class Life:
    """The moves of tasks on one connection at the server's time `now`."""

    def __init__(
        self, connection: sa.Connection, kinds: Mapping[str, TaskKind], now: int, sign: Sign
    ) -> None:
        self.sql, self.kinds, self.now = connection, kinds, now
        self.ledger = SqlLedger(connection, now, sign)

    def take(
        self, wanted: Sequence[Task], node: str, session: str, lease: int, limits: Limits
    ) -> None:
        """Give queued tasks to a session.  Raises Conflict when one of them cannot start."""
        queue.take(self.sql, wanted, node, session, self.now, self.now + lease, limits)
        for task in wanted:
            self.kinds[task.type].start(task, self.ledger, SqlCatalogue(self.sql))
            _tell("task taken", task)

    def finish(self, done: Sequence[Task]) -> None:
        """End many that went well, in as few statements as there can be."""
        if tasks.have_followers(self.sql, [task.guid for task in done]):
            for task in done:
                self.end(task, State.FINISHED, None)
            return
        held = [key for task in done for key in task.slots]
        ended = {
            "state": State.FINISHED.value,
            "finished": self.now,
            "status_info": None,
            "progress": 100.0,
            "ready": False,
            "lease_until": None,
            "cancel_wanted": False,
            "slots": [],
        }
        tasks.change_many(self.sql, done, self.now, [ended] * len(done))
        for task in done:
            self.ledger.damage.reported(task, State.FINISHED)
            self.kinds[task.type].settle(task, State.FINISHED, self.ledger)
            _tell("task ended", task, state=State.FINISHED.value)
        queue.release(self.sql, held)

    def end(self, task: Task, state: State, info: str | None) -> None:
        """Final state, backup record, followers, retry copy and limits, all or nothing."""
        self.ledger.damage.reported(task, state)  # whether or not the task is tried again
        _tell("task ended", task, state=state.value, info=info)
        waiting = tasks.followers(self.sql, task.guid)
        held = task.slots
        before = msgspec.structs.replace(task)
        again = self._again(before) if state is State.FAILED else None
        tasks.change(
            self.sql,
            task,
            self.now,
            state=state.value,
            finished=self.now,
            status_info=info,
            progress=100.0 if state is State.FINISHED else task.progress,
            ready=False,
            lease_until=None,
            cancel_wanted=False,
            slots=[],
            run="" if again else task.run,  # its copy counts instead
        )
        if again:
            kept = again(before, waiting)
        else:
            self.kinds[task.type].settle(task, state, self.ledger)
            kept = self._release_followers(task, waiting, held, state)
        queue.release(self.sql, [key for key in held if key not in kept])
        if state is State.FAILED and not again:
            self._fail_the_rest(task)

    def _again(self, task: Task) -> Callable[[Task, list[Task]], list[str]] | None:
        """How a failed task is tried again, if it is."""
        if self._may_repeat(task):
            return self._repeat
        return self._retry if self._may_retry(task) else None

    def cancel(self, task: Task, info: str | None) -> None:
        """Queued: at once.  Running: a wish to its node, granted at the second asking."""
        if task.state == "RUNNING" and not task.cancel_wanted:
            params = {**task.params, _CANCEL_BY: self.now + CANCEL_MS}
            tasks.change(
                self.sql, task, self.now, cancel_wanted=True, status_info=info, params=params
            )
        else:
            self.end(task, State.CANCELLED, info)

    def hide(self, task: Task) -> None:
        """Out of every list; its row stays for those who still hold its guid."""
        tasks.change(self.sql, task, self.now, archived=True)

    def lost(self, task: Task, why: str) -> None:
        """The attempt is over without a word: run again, or say how it ended."""
        if task.cancel_wanted:
            self.end(task, State.CANCELLED, task.status_info)
        elif not self.kinds[task.type].repeatable:
            self.end(task, State.FAILED, f"{why}; it is not safe to repeat by itself")
        elif task.attempt >= MAX_ATTEMPTS:
            self.end(task, State.FAILED, f"{why}, for the {task.attempt}th time")
        else:
            self.requeue(task, why)

    def requeue(self, task: Task, why: str) -> None:
        """Back into the queue for another attempt, in a fresh window."""
        _tell("task goes back into the queue", task, info=why)
        inherited = [key for key in task.slots if _is_inherited(key, task)]
        queue.release(self.sql, [key for key in task.slots if key not in inherited])
        tasks.change(
            self.sql,
            task,
            self.now,
            state="QUEUED",
            status_info=f"{why}; waiting to run again",
            ready=True,
            window_start=min(task.window_start, self.now),
            window_end=max(task.window_end, self.now + task.window_length),
            session=None,
            node=None,
            lease_until=None,
            slots=inherited,
            params=_resumed(task),
        )

    def _may_retry(self, task: Task) -> bool:
        return self.kinds[task.type].retries and task.retry_count > 0 and not task.cancel_wanted

    def _may_repeat(self, task: Task) -> bool:
        """Whether the plan can begin anew: what a STORE was to build on is gone."""
        gone = task.results.get("failure") == BaseGone.code
        first = bool(task.follows) and not task.params.get("repeated")
        return gone and first and not task.cancel_wanted

    def _repeat(self, task: Task, waiting: list[Task]) -> list[str]:
        """Export again, once, and store that: copies of the task before this one and of this."""
        first = tasks.get(self.sql, task.follows or "")
        why = "what it built on was removed meanwhile; another backup was begun in its place"
        backup = self.ledger.backups.begun_again(task.ref("backup") or "", why)
        window: dict[str, int | None] = {"window_start": self.now, "asked_start": None}
        window["window_end"] = self.now + first.window_length
        refs = {**first.refs, "backup": backup}
        head = _copy(first, self.now, rank=rank(self.now, first.priority), refs=refs, **window)
        head.ready = True
        params = {k: v for k, v in task.params.items() if k not in ("staging", "before")}
        params["repeated"] = True
        refs = {**task.refs, "backup": backup}
        again = _copy(task, self.now, state="PLANNED", follows=head.guid, params=params, refs=refs)
        tasks.insert(self.sql, [head, again])
        for follower in waiting:
            tasks.change(self.sql, follower, self.now, follows=again.guid)
        return []

    def _fail_the_rest(self, task: Task) -> None:
        """Where too much of a run has failed already, what still waits of it fails too."""
        most = task.params.get("thresholds", {}).get(task.type)
        if most is None or not task.run:
            return
        failed, total = queue.share_failed(self.sql, task.run, task.type)
        if 100 * failed <= most * total:
            return
        why = f"THRESHOLD: {failed} of {total} {task.type} tasks of this run failed"
        for other in queue.waiting_of_run(self.sql, task.run, task.type):
            other.params.pop("thresholds", None)  # the rest fails at once, not one by one
            other.retry_count = 0
            self.end(other, State.FAILED, why)

    def _retry(self, task: Task, waiting: list[Task]) -> list[str]:
        """A copy that starts later inherits the followers; returns the limits it keeps."""
        start = self.now + back_off(task.retry_count, task.tries, _CHANCE)
        inherited = [key for key in task.slots if _is_inherited(key, task)]
        copy = _copy(
            task,
            self.now,
            retry_count=task.retry_count - 1,
            window_start=start,
            window_end=start + task.window_length,
            asked_start=None,
            rank=rank(start, task.priority),
            slots=inherited,
        )
        tasks.insert(self.sql, [copy])
        for follower in waiting:
            tasks.change(self.sql, follower, self.now, follows=copy.guid)
        return inherited

    def _release_followers(
        self, task: Task, waiting: list[Task], held: list[str], state: State
    ) -> list[str]:
        """Queue or cancel what waited; returns the limits that the first follower takes over.

        A look at what was made keeps nobody from the machine.
        """
        goes_on = waiting and waiting[0].lane != "inventory"
        kept = [key for key in held if key.startswith("entity:")] if goes_on else []
        if state is not State.FINISHED:
            for follower in waiting:
                self._drop(follower, task)
            return []
        for number, follower in enumerate(waiting):
            self._queue(follower, task, kept if number == 0 else [])
        return kept

    def _queue(self, follower: Task, task: Task, slots: list[str]) -> None:
        # Times that were computed when it was planned may lie ahead of a clock that was set back.
        start = max(self.now, follower.asked_start or 0)
        stages = self.kinds[task.type].stages
        staging = {"staging": task.attempt_name} if stages else {}
        tasks.change(
            self.sql,
            follower,
            self.now,
            state="QUEUED",
            window_start=start,
            window_end=start + follower.window_length,
            rank=rank(start, follower.priority),
            ready=start <= self.now,
            pinned_node=(task.node if stages else None) or follower.pinned_node,
            params={**follower.params, **staging, "before": task.results},
            slots=slots,
        )

    def _drop(self, follower: Task, task: Task) -> None:
        """A follower whose turn will never come ends unseen, and so do its own."""
        self.end(follower, State.CANCELLED, f"task {task.guid} ended {task.state}")
        self.hide(follower)


def _tell(event: str, task: Task, **more: str | None) -> None:
    """Log a move of a task.  The line is written before the commit: a move that is rolled back
    is followed by the line of the error."""
    if log.isEnabledFor(logging.INFO):
        about = {"task": task.guid, "type": task.type, "attempt": task.attempt, "node": task.node}
        log.info(event, extra=members(**about, **more))


def expired(connection: sa.Connection, now: int, limit: int = 100) -> list[Task]:
    """Running tasks whose lease has run out, locked."""
    query = sa.select(*tasks.COLUMNS).where(sa.text("state = 'RUNNING'"), table.c.lease_until < now)
    rows = connection.execute(query.limit(limit).with_for_update())
    return [tasks.task_of(row) for row in rows]


def overdue(connection: sa.Connection, now: int) -> list[Task]:
    """Running tasks whose node was asked to stop and has not, locked."""
    query = sa.select(*tasks.COLUMNS).where(sa.text("state = 'RUNNING'"), table.c.cancel_wanted)
    rows = connection.execute(query.with_for_update())
    found = [tasks.task_of(row) for row in rows]
    return [task for task in found if task.params.get(_CANCEL_BY, now + 1) <= now]


def of_session(connection: sa.Connection, session: str) -> list[Task]:
    """Running tasks of a node's session, locked."""
    query = sa.select(*tasks.COLUMNS).where(
        sa.text("state = 'RUNNING'"), table.c.session == session
    )
    return [tasks.task_of(row) for row in connection.execute(query.with_for_update())]


def end_pinned(connection: sa.Connection, moves: Life, node: str, state: State) -> None:
    """End what only one node could have done."""
    query = sa.select(*tasks.COLUMNS).where(table.c.state == "QUEUED", table.c.pinned_node == node)
    for row in connection.execute(query.with_for_update()).all():
        task = tasks.task_of(row)
        task.retry_count = 0  # there is nobody left to try again
        moves.end(task, state, "its node was removed")


def shift_leases(connection: sa.Connection, until: int) -> None:
    """Nobody could renew while no server ran, or while its clock was wrong: start anew."""
    connection.execute(
        sa.update(table).where(sa.text("state = 'RUNNING'")).values(lease_until=until)
    )


def plan_of(connection: sa.Connection, workflow: str) -> list[Task]:
    """All tasks of a workflow, planned ones too: what goes before stands before."""
    query = sa.select(*tasks.COLUMNS).where(table.c.workflow == workflow)
    found = [tasks.task_of(row) for row in connection.execute(query)]
    before = {task.guid: task.follows for task in found}

    def place(task: Task) -> tuple[int, int, str]:
        depth, guid = 0, before[task.guid]
        while guid is not None:
            depth, guid = depth + 1, before.get(guid)
        return depth, task.created, task.guid

    return sorted(found, key=place)


def _copy(task: Task, now: int, **values: Any) -> Task:
    """A task like another, as if it had never been taken."""
    fresh: dict[str, Any] = {
        "guid": new_guid(),
        "state": "QUEUED",
        "created": now,
        "modified": now,
        "started": None,
        "finished": None,
        "progress": 0.0,
        "status_info": None,
        "results": {},
        "attempt": 0,
        "node": None,
        "session": None,
        "lease_until": None,
        "ready": False,
        "slots": [],
        "cancel_wanted": False,
        "params": {k: v for k, v in task.params.items() if k != _CANCEL_BY},
    }
    return msgspec.structs.replace(task, **(fresh | values))


def _resumed(task: Task) -> dict[str, Any]:
    """The parameters of the next attempt: it goes on from the point that this one told of."""
    cursor = task.results.get("cursor")
    return {**task.params, "cursor": cursor} if isinstance(cursor, str) else task.params


def _is_inherited(key: str, task: Task) -> bool:
    """A limit that an earlier task of the plan occupied for all of them."""
    return key.startswith("entity:") and key != task.entity_slot
