"""Tasks: ask for them, read them, follow them, cancel and remove them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Unpack

from haulback.client.asking import Asking
from haulback.client.calls import Calls, Listed, Page
from haulback.client.node_tasks import NodeTasks
from haulback.errors import Cancelled, NotFound, TaskFailed
from haulback.tasks.shapes import (
    DataTransferRateDetails,
    LogLine,
    TaskDetails,
    TaskListRecord,
    TaskStatus,
    TimestampDTO,
)
from haulback.tasks.states import FINAL, PLANNED, State

LOOK_EVERY = 0.25  # seconds between two looks at a task that is followed
_FINAL = frozenset(state.value for state in FINAL)


class TaskQuery(Listed, total=False):
    """What a list of tasks may be narrowed by: guids, names, states, epoch ms."""

    backup: str
    backup_destination: str
    hypervisor: str
    hypervisor_manager: str
    node: str
    protected_entity: str
    restore_job: str
    schedule: str
    storage_provider: str
    parent_task: str
    workflow_execution: str
    mounted_backup_assigned: bool
    nameLike: str
    states: list[str]
    type: str
    cursor: str
    modified_since: int


class Tasks(Asking):
    """The Tasks Controller; `node` is what only the node that runs a task may say of it."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self.node = NodeTasks(calls)

    def page(self, page: int = 0, **query: Unpack[TaskQuery]) -> Page[TaskListRecord]:
        """One page, with the total and the cursor of the next (`cursor=` in place of `page`)."""
        sent: dict[str, Any] = {"page": page or None, "size": 50, **query}
        return self._calls.page(TaskListRecord, "/tasks", sent)

    def all(self, **query: Unpack[TaskQuery]) -> Iterator[TaskListRecord]:
        """Every task, read page by page."""
        return self._calls.each(TaskListRecord, "/tasks", {**query})

    def all_detailed(self, **query: Unpack[TaskQuery]) -> Iterator[TaskDetails]:
        """The same with every member."""
        return self._calls.each(TaskDetails, "/tasks/detailed", {**query})

    def queued(self, node: str = "", wait: float = 0.0) -> list[TaskDetails]:
        """What a node may start now; without one everything queued.  `wait` in seconds."""
        query = {"node": node}
        return self._calls.one(list[TaskDetails], "GET", "/tasks/queued", query=query, wait=wait)

    def last_change(self) -> int:
        """When any task last changed, epoch ms; `modified_since` takes it."""
        return self._calls.one(TimestampDTO, "GET", "/tasks/modification-timestamps").value

    def get(self, guid: str, *, extended: bool = False) -> TaskDetails:
        """One task; `extended` adds followers, workflow, files and history."""
        query = {"extended": extended or None}
        return self._calls.one(TaskDetails, "GET", f"/tasks/{guid}", query=query)

    def state(self, guid: str) -> TaskStatus:
        """The state and why."""
        return self._calls.one(TaskStatus, "GET", f"/tasks/{guid}/state")

    def state_v2(self, guid: str) -> TaskStatus:
        """The same with guid and progress."""
        return self._calls.one(TaskStatus, "GET", f"/tasks/{guid}/state/v2")

    def last_rate(self, guid: str) -> DataTransferRateDetails:
        """The last sample of how fast it went."""
        path = f"/tasks/{guid}/transfer-rate/last"
        return self._calls.one(DataTransferRateDetails, "GET", path)

    def log(self, guid: str) -> list[LogLine]:
        """What the node said while it worked."""
        return self._calls.one(list[LogLine], "GET", f"/tasks/{guid}/log")

    def set_state(self, guid: str, state: State, info: str | None = None) -> None:
        """Move a task on: people cancel, the node that takes or runs it does the rest."""
        self._calls.done("PUT", f"/tasks/{guid}/state", _moved(state, info))

    def set_states(self, guids: list[str], state: State, info: str | None = None) -> None:
        """The same for many, each by itself.  Raises Conflict naming those that did not move."""
        body = {**_moved(state, info), "tasks": _refs(guids)}
        self._calls.done("PUT", "/tasks/state", body)

    def cancel(self, guid: str, info: str = "Cancelled by user") -> None:
        """Cancel; the second time without waiting for the node."""
        self.set_state(guid, State.CANCELLED, info)

    def remove(self, guid: str) -> None:
        """Take a task off the lists; one that runs is cancelled."""
        self._calls.done("DELETE", f"/tasks/{guid}")

    def remove_finished(self, *guids: str) -> None:
        """Take finished tasks off the lists: all, or of these those that are finished."""
        self._some("all-finished", "delete-finished", guids)

    def remove_finished_and_queued(self, *guids: str) -> None:
        """The same, queued ones too."""
        self._some("all-finished-and-queued", "delete-finished-and-queued", guids)

    def cancel_running(self, *guids: str) -> None:
        """Cancel running tasks: all, or of these those that run."""
        self._some("all-running", "cancel-running", guids)

    def _some(self, all_of_them: str, these: str, guids: tuple[str, ...]) -> None:
        if guids:
            self._calls.done("POST", f"/tasks/{these}", _refs(guids))
        else:
            self._calls.done("DELETE", f"/tasks/{all_of_them}")

    def follow(self, guid: str, every: float = LOOK_EVERY) -> Iterator[list[TaskDetails]]:
        """A task and those that follow it, as they are every so many seconds, until all is over."""
        while True:
            plan = self._plan(guid)
            yield plan
            if _is_over(plan):
                return
            time.sleep(every)

    def wait(self, guid: str, every: float = LOOK_EVERY) -> list[TaskDetails]:
        """The same; their last details.

        Raises TaskFailed or Cancelled for the first that did not finish.
        """
        [plan] = deque(self.follow(guid, every), maxlen=1)
        check(plan)
        return plan

    def _plan(self, guid: str) -> list[TaskDetails]:
        """The visible tasks of a plan, in order."""
        head = self.get(guid, extended=True)
        found = [head]
        for step in head.workflowExecution.tasks if head.workflowExecution else []:
            if step.guid != guid and step.state.name != PLANNED:
                try:
                    found.append(self.get(step.guid))
                except NotFound:
                    continue  # cancelled with what it was to follow
        return found


def check(plan: list[TaskDetails]) -> None:
    """The last state of a retried task counts, not those of the attempts before.

    Raises TaskFailed or Cancelled.
    """
    last = {task.type.name: task for task in plan}
    for what, task in last.items():
        why = task.statusInfo or "no reason given"
        if task.state.name == State.FAILED.value:
            raise TaskFailed(f"{what} {task.guid} failed: {why}")
        if task.state.name == State.CANCELLED.value:
            raise Cancelled(f"{what} {task.guid} was cancelled: {why}")


def _is_over(plan: list[TaskDetails]) -> bool:
    if any(task.state.name not in _FINAL for task in plan):
        return False
    steps = plan[0].workflowExecution.tasks if plan[0].workflowExecution else []
    return all(step.state.name != PLANNED for step in steps)


def _moved(state: State, info: str | None) -> dict[str, str]:
    return {"state": state.value} | ({"statusInfo": info} if info else {})


def _refs(guids: list[str] | tuple[str, ...]) -> list[dict[str, str]]:
    return [{"guid": guid} for guid in guids]
