"""Events of ended tasks and workflows."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.events import Event, EventKind
from haulback.contract.task_states import State
from haulback.tasks import workflow_state
from haulback.tasks.record import Task
from haulback.wire import JsonObject

_SUBJECTS = ("protectedEntity", "backupDestination", "hypervisor", "hypervisorManager", "node")
_SHOWN = (*_SUBJECTS, "backup", "rule", "schedule")
_INFO = 1000  # characters


def of_task(task: Task, state: State, now: int, *, retried: bool = False) -> Event:
    """The end of an attempt series; `retried`: another task takes the place of the failed task."""
    name, info = _subject(task), (task.status_info or "")[:_INFO]
    result = f"{state.value}, and is retried" if retried else state.value
    data: JsonObject = {"type": task.type, "state": state.value, "workflow": task.workflow}
    data |= {"statusInfo": info} if info else {}
    data |= {"run": task.run} if task.run else {}
    data |= {"retried": True} if retried else {}
    data |= {"startTime": task.started, "finishTime": now, "backupType": task.backup_type}
    return Event(
        kind=EventKind.TASK_ENDED,
        time=now,
        subject=task.guid,
        subject_name=name,
        project=task.project,
        rule=task.ref("rule"),
        text=f"{task.type} of {name}: {result}" + (f": {info}" if info else ""),
        data={key: value for key, value in data.items() if value is not None} | _refs(task),
    )


def of_workflow(head: Task, steps: Sequence[Task], now: int) -> Event:
    """The end of a workflow; `steps` are all of its tasks, in order."""
    main = workflow_state.main_steps(steps)
    state, name = workflow_state.state_of(main), _subject(head)
    info = next((task.status_info for task in reversed(main) if task.status_info), None) or ""
    data: JsonObject = {
        "name": workflow_state.name_of(head),
        "type": head.type,
        "state": state,
        "workflow": head.workflow,
        "tasks": len(main),
    }
    data |= {"statusInfo": info[:_INFO]} if info else {}
    data |= {"run": run} if (run := next((t.run for t in main if t.run), "")) else {}
    return Event(
        kind=EventKind.WORKFLOW_ENDED,
        time=now,
        subject=head.guid,
        subject_name=name,
        project=head.project,
        rule=head.ref("rule"),
        text=f"{data['name']} of {name}: {state}" + (f": {info[:_INFO]}" if info else ""),
        data=data | _refs(head),
        once=f"WORKFLOW_ENDED {head.workflow}",
    )


def _subject(task: Task) -> str:
    """The name of the main object of a task."""
    found = next((task.refs[role].name for role in _SUBJECTS if role in task.refs), "")
    return found or task.type


def _refs(task: Task) -> JsonObject:
    return {
        role: {"guid": ref.guid, "name": ref.name}
        for role, ref in task.refs.items()
        if role in _SHOWN
    }
