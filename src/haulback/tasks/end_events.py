"""Events of ended tasks and workflows."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.events import Event, EventKind
from haulback.contract.task_states import State
from haulback.tasks import workflow_state
from haulback.tasks.destination_health import AGAIN, away
from haulback.tasks.record import HOUR_MS, Task
from haulback.wire import JsonObject, Named

_SUBJECTS = ("protectedEntity", "backupDestination", "hypervisor", "hypervisorManager", "node")
_SHOWN = (*_SUBJECTS, "backup", "rule", "schedule")
_INFO = 1000  # characters


def of_task(task: Task, state: State, now: int, *, retried: bool = False) -> Event:
    """The event of a task's end; `retried` is true if another task replaces the failed task."""
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


def troubles(task: Task, state: State, now: int) -> list[Event]:
    """Events about the backup or the destination of a failed task."""
    if state is not State.FAILED:
        return []
    made = []
    if task.type == "PROVE" and (backup := task.refs.get("backup")):
        made.append(_trouble(EventKind.PROOF_FAILED, task, backup, now))
    # The open breaker of the destination is already an alarm.
    if not task.params.get(AGAIN) and (place := away(task, state)):
        down = _trouble(EventKind.DESTINATION_DOWN, task, place, now)
        # Many tasks may fail at once because of one destination.
        down.once = f"DESTINATION_DOWN {place.guid} {now // HOUR_MS}"
        down.project = None
        made.append(down)
    return made


def _trouble(kind: EventKind, task: Task, about: Named, now: int) -> Event:
    info = (task.status_info or "")[:_INFO]
    words = {
        EventKind.PROOF_FAILED: f"the proof of a backup of {about.name} failed",
        EventKind.DESTINATION_DOWN: f"{task.type} could not reach {about.name}",
    }[kind]
    return Event(
        kind=kind,
        time=now,
        subject=about.guid,
        subject_name=about.name,
        project=task.project,
        rule=task.ref("rule"),
        text=f"{words}: {info}",
        data={"task": task.guid, "type": task.type} | _refs(task),
    )


def of_workflow(head: Task, steps: Sequence[Task], now: int) -> Event:
    """The event of a workflow's end; `steps` are all of its tasks, in order."""
    main = workflow_state.main_steps(steps)
    state, name = workflow_state.state_of(main), _subject(head)
    info = _cause(main)
    data: JsonObject = {
        "name": workflow_state.name_of(head),
        "type": head.type,
        "state": state,
        "workflow": head.workflow,
        "tasks": len(main),
    }
    data |= {"statusInfo": info} if info else {}
    data |= {"run": run} if (run := next((t.run for t in main if t.run), "")) else {}
    data |= {"retried": True} if head.params.get(AGAIN) and state == State.FAILED.value else {}
    return Event(
        kind=EventKind.WORKFLOW_ENDED,
        time=now,
        subject=head.guid,
        subject_name=name,
        project=head.project,
        rule=head.ref("rule"),
        text=f"{data['name']} of {name}: {state}" + (f": {info}" if info else ""),
        data=data | _refs(head),
        once=f"WORKFLOW_ENDED {head.workflow}",
    )


def _cause(steps: Sequence[Task]) -> str:
    """The reason of the first failed task, or else of the first cancelled task."""
    for state in (State.FAILED, State.CANCELLED, State.FINISHED):
        for task in steps:
            if task.state == state.value and task.status_info:
                return task.status_info[:_INFO]
    return ""


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
