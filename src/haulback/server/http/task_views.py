"""Tasks in the form of the contract."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_types import SEALED
from haulback.contract.tasks import (
    DataTransferRateDetails,
    LogLine,
    Step,
    TaskDetails,
    TaskListRecord,
    TaskStatus,
    Workflow,
)
from haulback.kinds import scoped_inventory_sync
from haulback.tasks.record import LogRow, Task, Waiting
from haulback.wire import JsonObject, Label, Named, label, present

_LISTED = (
    "protectedEntity",
    "node",
    "hypervisor",
    "hypervisorManager",
    "backupDestination",
    "originEntity",
)
_REFS = (
    *_LISTED,
    "backup",
    "mountedBackup",
    "protectedEntitySnapshot",
    "restoreJob",
    "schedule",
    "rule",
    "dstProtectedEntity",
    "storageProvider",
)
_LABELLED = ("restoreType", "restoredDiskAllocationFormat", "mode")
_PLAIN = (
    "restorePath",
    "restoredPeName",
    "restoreClusterId",
    "restoreStorageId",
    "overwrite",
    "powerOnAfterRestore",
    "taskFiles",
)
_REPORTED = (
    "cbtId",
    "incSnapRequired",
    "taskFiles",
    "restoreHostId",
    "restoreStorageId",
    "processedObjectCount",
    "totalObjectCount",
)
_INNER = ("before", "staging", SEALED)  # parameters that no request has set
_NOTHING: JsonObject = {}


def list_record(task: Task, why: Waiting | None = None) -> TaskListRecord:
    """TaskListRecord; `why` is the reason why a queued task waits."""
    return TaskListRecord(**_listed(task, why))


def _listed(task: Task, why: Waiting | None) -> JsonObject:
    refs = task.refs
    entity = refs.get("protectedEntity")
    return {
        "guid": task.guid,
        "type": label(task.type),
        "state": label(task.state),
        "windowStart": task.window_start,
        "windowEnd": task.window_end,
        "progress": round(task.progress, 2),
        "priority": task.priority,
        "startTime": task.started,
        "finishTime": task.finished,
        "backupType": _label(task.backup_type),
        "statusInfo": task.status_info,
        "protectedEntityDisplayName": entity.name if entity else None,
        "workflowExecution": Workflow(guid=task.workflow, commonContext=_NOTHING),
        "powerOnAfterRestore": task.params.get("powerOnAfterRestore"),
        "queueReason": why.reason if why else None,
        "queuePosition": why.position if why else None,
        **{role: refs.get(role) for role in _LISTED},
    }


def details(task: Task, why: Waiting | None = None) -> TaskDetails:
    """TaskDetails; `why` is the reason why a queued task waits."""
    return TaskDetails(**_details(task, why))


def _details(task: Task, why: Waiting | None) -> JsonObject:
    params, results = task.params, task.results
    result = _listed(task, why)
    for role in _REFS:
        result[role] = task.refs.get(role)
    for name in _LABELLED:
        result[name] = _label(params.get(name))
    for name in _PLAIN:
        result[name] = params.get(name)
    result["incSnapRequired"] = params.get("incSnapRequired")
    result |= {name: results[name] for name in _REPORTED if name in results}
    if result["taskFiles"] is not None:
        # Tasks of earlier releases get this member too.
        result["taskFiles"] = present(result["taskFiles"])
    if task.type == scoped_inventory_sync.KIND.type:
        result["instanceUuids"] = scoped_inventory_sync.uuids_of(task)
        result["protectedEntities"] = msgspec.convert(params.get("entities", []), list[Named])
    return result | {
        "creationTime": task.created,
        "retryCount": task.retry_count,
        "progressChange": task.modified,
        "parentTask": Named(task.follows, "") if task.follows else None,
        "dataTransferRate": rate(results["dataTransferRate"], task)
        if "dataTransferRate" in results
        else None,
        "cancelling": True if task.cancel_wanted else None,
    }


def extended(task: Task, plan: list[Task], why: Waiting | None) -> TaskDetails:
    """TaskDetails with request, report and plan of the task."""
    steps = [Step(t.guid, label(t.type), label(t.state)) for t in plan]
    asked = present({k: v for k, v in task.params.items() if k not in _INNER})
    history = [rate(item, task) for item in task.results.get("transferHistory", [])]
    reported = {k: v for k, v in task.results.items() if k != "transferHistory"}
    more = {
        "workflowExecution": Workflow(guid=task.workflow, commonContext=asked, tasks=steps),
        "followers": [list_record(t) for t in plan if t.follows == task.guid],
        "taskFiles": present(task.results.get("taskFiles", task.params.get("taskFiles", []))),
        "transferInfo": present(reported),
        "transferHistory": history,
    }
    return TaskDetails(**{**_details(task, why), **more})


def rate(sample: JsonObject, task: Task) -> DataTransferRateDetails:
    """A sample of the transfer rate."""
    return DataTransferRateDetails(
        transferRate=sample.get("transferRate"),
        transferredBytes=sample.get("transferredBytes"),
        timestamp=sample.get("timestamp"),
        task=Named(task.guid),
    )


def status(task: Task) -> TaskStatus:
    """TaskStatus."""
    return TaskStatus(state=label(task.state), statusInfo=task.status_info)


def status_v2(task: Task) -> TaskStatus:
    """TaskStatus with guid and progress."""
    return TaskStatus(
        state=label(task.state),
        statusInfo=task.status_info,
        guid=task.guid,
        progress=round(task.progress, 2),
    )


def log_line(line: LogRow) -> LogLine:
    """A line of a task's log."""
    return LogLine(line.time, line.attempt, line.text)


def _label(name: str | None) -> Label | None:
    return label(name) if name else None
