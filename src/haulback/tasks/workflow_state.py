"""The state of a workflow, from the states of its tasks."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.task_states import FINAL
from haulback.tasks.record import Task

_NAMES = {
    "EXPORT": "BACKUP",
    "RESTORE": "RESTORE",
    "DELETE": "DELETE",
    "BACKUP_CLEANUP": "CLEANUP",
    "INVENTORY_SYNC": "INVENTORY",
}
_FINAL = {state.value for state in FINAL}
_BESIDES = ("SCOPED_INVENTORY_SYNC",)  # scans after the work; their failure does not undo the work
RUNNING, WARNED = "RUNNING", "FINISHED_WITH_WARNINGS"


def name_of(head: Task) -> str:
    """The name of a workflow, by its first task."""
    return _NAMES.get(head.type, head.type)


def main_steps(steps: Sequence[Task]) -> list[Task]:
    """The tasks that decide about the end of a workflow."""
    return [task for task in steps if task.type not in _BESIDES] or list(steps)


def state_of(steps: Sequence[Task]) -> str:
    """The state of a workflow; a failed task with a successful retry is only a warning."""
    if any(task.state not in _FINAL for task in steps):
        return RUNNING
    # a workflow may make copies on several destinations
    last = {(task.type, task.ref("backupDestination")): task for task in steps}
    ends = {task.state for task in last.values()}
    if "FAILED" in ends:  # for example a backup without its copy
        stored = any(t.state == "FINISHED" and t.type == "STORE" for t in steps)
        return "PARTIALLY_FINISHED" if stored else "FAILED"
    if "CANCELLED" in ends:
        return "CANCELLED"
    retried = any(task.state == "FAILED" for task in steps)
    warned = any(task.results.get("warnings") for task in last.values())
    return WARNED if retried or warned else "FINISHED"
