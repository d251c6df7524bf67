"""Tasks as the contract shows them.  Absent members are left out, never null."""

from __future__ import annotations

from typing import Any

from haulback.server.store.reports import LogLine
from haulback.tasks.record import Task
from haulback.wire import Named, label

_LISTED = (
    "protectedEntity",
    "node",
    "hypervisor",
    "hypervisorManager",
    "backupDestination",
    "originEntity",
)
_LABELLED = ("restoreType", "restoredDiskAllocationFormat", "mode")
_PLAIN = ("restorePath", "restoredPeName", "overwrite", "taskFiles")
_REPORTED = ("cbtId", "incSnapRequired", "taskFiles", "restoreHostId", "restoreStorageId")


def list_record(task: Task) -> dict[str, Any]:
    """TaskListRecord."""
    return _present(
        {
            "guid": task.guid,
            "type": label(task.type),
            "state": label(task.state),
            "windowStart": task.window_start,
            "windowEnd": task.window_end,
            "progress": round(task.progress, 2),
            "priority": task.priority,
            "startTime": task.started,
            "finishTime": task.finished,
            "backupType": label(task.backup_type) if task.backup_type else None,
            "statusInfo": task.status_info,
            "protectedEntityDisplayName": _name(task.refs.get("protectedEntity")),
            "workflowExecution": {"guid": task.workflow, "commonContext": {}},
            **{role: task.refs.get(role) for role in _LISTED},
        }
    )


def details(task: Task, queue_reason: str | None = None) -> dict[str, Any]:
    """TaskDetails; `queueReason` says why a queued task waits."""
    params, results = task.params, task.results
    return {
        **list_record(task),
        **_present(
            {
                "creationTime": task.created,
                "retryCount": task.retry_count,
                "progressChange": task.modified,
                "parentTask": Named(task.follows, "") if task.follows else None,
                **task.refs,
                **{name: label(params[name]) for name in _LABELLED if params.get(name)},
                **{name: params[name] for name in _PLAIN if params.get(name) is not None},
                **{name: results[name] for name in _REPORTED if name in results},
                "dataTransferRate": results.get("dataTransferRate"),
                "cancelling": True if task.cancel_wanted else None,
                "queueReason": queue_reason,
            }
        ),
    }


def extended(task: Task, plan: list[Task], why: str | None) -> dict[str, Any]:
    """TaskDetails with what the kind was asked and reported, and the plan it belongs to."""
    steps = [{"guid": t.guid, "type": label(t.type), "state": label(t.state)} for t in plan]
    workflow = {"guid": task.workflow, "commonContext": task.params, "tasks": steps}
    return {**details(task, why), "workflowExecution": workflow, "transferInfo": task.results}


def status(task: Task) -> dict[str, Any]:
    """TaskStatus."""
    return _present({"state": label(task.state), "statusInfo": task.status_info})


def status_v2(task: Task) -> dict[str, Any]:
    """TaskStatus with guid and progress."""
    return {**status(task), "guid": task.guid, "progress": round(task.progress, 2)}


def log_line(line: LogLine) -> dict[str, Any]:
    """A line of a task's log."""
    return {"time": line.time, "attempt": line.attempt, "text": line.text}


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _name(ref: Named | None) -> str | None:
    return ref.name if ref else None
