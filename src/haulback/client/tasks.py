"""Tasks: submit, read, follow, cancel and remove them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Unpack

from haulback.client import record_names
from haulback.client.api import HttpCall
from haulback.client.calls import Calls, Listed, Page
from haulback.client.node_tasks import NodeTasks
from haulback.client.resources import Machines
from haulback.client.submissions import Submissions
from haulback.contract.task_states import FINAL, PLANNED, State
from haulback.contract.tasks import (
    DataTransferRateDetails,
    LogLine,
    TaskDetails,
    TaskListRecord,
    TaskStatus,
    TimestampDTO,
)
from haulback.errors import Cancelled, NotFound, TaskFailed
from haulback.ids import is_guid
from haulback.wire import JsonObject

LOOK_EVERY = 0.25  # seconds between two polls of a followed task
_FINAL = frozenset(state.value for state in FINAL)


class TaskQuery(Listed, total=False):
    """Filters of the task list: guids, names, states, times in epoch ms."""

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


class Tasks(Submissions):
    """Tasks of the API; `node` has the reports that only the node of a task may send."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self.node = NodeTasks(calls)

    def page(self, page: int = 0, **query: Unpack[TaskQuery]) -> Page[TaskListRecord]:
        """Fetch one page of 50 tasks with the total and the cursor of the next page.

        Pages count from 0; pass `cursor=` in place of `page` to continue after a page.
        """
        sent: JsonObject = {"page": page or None, "size": 50, **query}
        return self._calls.page(TaskListRecord, "/tasks", sent)

    def all(self, **query: Unpack[TaskQuery]) -> Iterator[TaskListRecord]:
        """Yield every task, fetched page by page."""
        return self._calls.each(TaskListRecord, "/tasks", {**query})

    def all_detailed(self, **query: Unpack[TaskQuery]) -> Iterator[TaskDetails]:
        """Yield every task with all members, fetched page by page."""
        return self._calls.each(TaskDetails, "/tasks/detailed", {**query})

    def queued(self, node: str = "", wait: float = 0.0) -> list[TaskDetails]:
        """Tasks that the node `node` may start now; without a node all queued tasks.

        `wait` is the number of seconds for which the server may hold the request.
        """
        query = {"node": node}
        call = HttpCall("GET", "/tasks/queued", query=query, wait=wait)
        return self._calls.fetch(list[TaskDetails], call)

    def last_change(self) -> int:
        """Time of the last change of any task (epoch ms), usable as `modified_since`."""
        return self._calls.one(TimestampDTO, "GET", "/tasks/modification-timestamps").value

    def get(self, guid: str, *, extended: bool = False) -> TaskDetails:
        """Fetch one task; `extended` adds followers, workflow, files and history.

        Raises NotFound.
        """
        query = {"extended": extended or None}
        return self._calls.one(TaskDetails, "GET", f"/tasks/{guid}", query=query)

    def guid(self, wanted: str) -> str:
        """The guid of a task: a guid, its beginning, `latest`, or `latest:MACHINE`.

        A whole guid is returned unchecked.  Raises NotFound, or Malformed with the candidates when
        several tasks fit.
        """
        machine = record_names.latest_of(wanted)
        if is_guid(wanted):
            return wanted
        if machine is None:
            rows = self.all(filter=record_names.searched("task", wanted))
            return record_names.chosen(rows, wanted, "task", _subject, ", or latest:MACHINE").guid
        entity = Machines(self._calls).guid(machine) if machine else ""
        rows_of = self.page(size=1, protected_entity=entity).rows
        if not rows_of:
            raise record_names.missing("task", wanted, machine)
        return rows_of[0].guid

    def retry_run(self, run: str) -> list[TaskListRecord]:
        """Queue the failed tasks in a run of a policy again.  Raises NotFound, or Conflict if there
        are none.

        The event RUN_ENDED of the policy names the run.
        """
        return self._calls.one(list[TaskListRecord], "POST", f"/runs/{run}/retry")

    def state(self, guid: str) -> TaskStatus:
        """The state of a task and the reason for it."""
        return self._calls.one(TaskStatus, "GET", f"/tasks/{guid}/state")

    def state_v2(self, guid: str) -> TaskStatus:
        """The state of a task with guid and progress."""
        return self._calls.one(TaskStatus, "GET", f"/tasks/{guid}/state/v2")

    def last_rate(self, guid: str) -> DataTransferRateDetails:
        """The latest transfer rate sample of a task."""
        path = f"/tasks/{guid}/transfer-rate/last"
        return self._calls.one(DataTransferRateDetails, "GET", path)

    def log(self, guid: str) -> list[LogLine]:
        """The log lines of a task."""
        return self._calls.one(list[LogLine], "GET", f"/tasks/{guid}/log")

    def follow_log(self, guid: str, every: float = LOOK_EVERY) -> Iterator[LogLine]:
        """Yield the log lines of a task as they come, until the task has ended.

        `every` is the polling interval in seconds.
        """
        seen: set[tuple[int, str]] = set()
        while True:
            # Read before the log, which is complete if the task has ended.
            is_over = self.state(guid).state.name in _FINAL
            for line in self.log(guid):
                key = (line.time, line.text)
                if key not in seen:
                    seen.add(key)
                    yield line
            if is_over:
                return
            time.sleep(every)

    def set_state(self, guid: str, state: State, info: str | None = None) -> None:
        """Change a task's state: users may cancel; only the task's node sets other states."""
        self._calls.done("PUT", f"/tasks/{guid}/state", _moved(state, info))

    def set_states(self, guids: list[str], state: State, info: str | None = None) -> None:
        """Change the state of many tasks, one by one.

        Raises Conflict with the tasks that did not change.
        """
        body = {**_moved(state, info), "tasks": _refs(guids)}
        self._calls.done("PUT", "/tasks/state", body)

    def cancel(self, guid: str, info: str = "Cancelled by user") -> None:
        """Cancel a task; a second call cancels without waiting for the node."""
        self.set_state(guid, State.CANCELLED, info)

    def remove(self, guid: str) -> None:
        """Hide a task from lists; a running task is cancelled."""
        self._calls.done("DELETE", f"/tasks/{guid}")

    def remove_finished(self, *guids: str) -> None:
        """Hide finished tasks from lists: all of them, or those among `guids`."""
        self._some("all-finished", "delete-finished", guids)

    def remove_finished_and_queued(self, *guids: str) -> None:
        """Hide finished and queued tasks from lists: all of them, or those among `guids`."""
        self._some("all-finished-and-queued", "delete-finished-and-queued", guids)

    def cancel_running(self, *guids: str) -> None:
        """Cancel running tasks: all of them, or those among `guids`."""
        self._some("all-running", "cancel-running", guids)

    def _some(self, all_of_them: str, these: str, guids: tuple[str, ...]) -> None:
        if guids:
            self._calls.done("POST", f"/tasks/{these}", _refs(guids))
        else:
            self._calls.done("DELETE", f"/tasks/{all_of_them}")

    def follow(self, guid: str, every: float = LOOK_EVERY) -> Iterator[list[TaskDetails]]:
        """Yield the details of a task and its followers until all of them have ended.

        `every` is the polling interval in seconds.
        """
        while True:
            plan = self._plan(guid)
            yield plan
            if _is_over(plan):
                return
            time.sleep(every)

    def wait(self, guid: str, every: float = LOOK_EVERY) -> list[TaskDetails]:
        """Wait until a task and its followers have ended; returns their last details.

        Raises TaskFailed or Cancelled for the first task that did not finish.
        """
        [plan] = deque(self.follow(guid, every), maxlen=1)
        check(plan)
        return plan

    def _plan(self, guid: str) -> list[TaskDetails]:
        """The visible tasks of a plan, in order."""
        head = self.get(guid, extended=True)
        result = [head]
        for step in head.workflowExecution.tasks if head.workflowExecution else []:
            if step.guid != guid and step.state.name != PLANNED:
                try:
                    result.append(self.get(step.guid))
                except NotFound:
                    continue  # removed when its predecessor was cancelled
        return result


def _subject(task: TaskListRecord) -> str:
    return f"{task.type.name} {task.protectedEntityDisplayName or ''}".strip()


def check(plan: list[TaskDetails]) -> None:
    """Raise TaskFailed or Cancelled for the first task that did not finish.

    Of several tasks of one type (retries) only the last counts.
    """
    last = {task.type.name: task for task in plan}
    for key, task in last.items():
        why = task.statusInfo or "no reason given"
        if task.state.name == State.FAILED.value:
            raise TaskFailed(f"{key} {task.guid} failed: {why}")
        if task.state.name == State.CANCELLED.value:
            raise Cancelled(f"{key} {task.guid} was cancelled: {why}")


def _is_over(plan: list[TaskDetails]) -> bool:
    if any(task.state.name not in _FINAL for task in plan):
        return False
    steps = plan[0].workflowExecution.tasks if plan[0].workflowExecution else []
    return all(step.state.name != PLANNED for step in steps)


def _moved(state: State, info: str | None) -> dict[str, str]:
    return {"state": state.value} | ({"statusInfo": info} if info else {})


def _refs(guids: list[str] | tuple[str, ...]) -> list[dict[str, str]]:
    return [{"guid": guid} for guid in guids]
