"""Requests and answers of /tasks; absent members are left out, never null.

Times are epoch milliseconds, durations milliseconds, sizes bytes, progress percent.
"""

from __future__ import annotations

import msgspec

from haulback.contract.task_states import State
from haulback.wire import JsonObject, Label, Named, Ref


class Workflow(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The workflow of a task."""

    guid: str
    commonContext: JsonObject
    tasks: list[Step] = []


class Step(msgspec.Struct, omit_defaults=True):
    """A task of a workflow; followers are PLANNED until their predecessor has finished."""

    guid: str
    type: Label
    state: Label


class TaskListRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A row of GET /tasks.

    `queueReason` says why a queued task waits, `queuePosition` how many tasks are ahead.
    """

    guid: str
    type: Label
    state: Label
    windowStart: int
    windowEnd: int
    progress: float
    priority: int
    startTime: int | None = None
    finishTime: int | None = None
    backupType: Label | None = None
    protectedEntity: Named | None = None
    protectedEntityDisplayName: str | None = None
    node: Named | None = None
    hypervisor: Named | None = None
    hypervisorManager: Named | None = None
    backupDestination: Named | None = None
    originEntity: Named | None = None
    powerOnAfterRestore: bool | None = None
    statusInfo: str | None = None
    workflowExecution: Workflow | None = None
    queueReason: str | None = None
    queuePosition: int | None = None


class DataTransferRateDetails(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A transfer rate sample: bytes per second and bytes so far; empty before the first sample."""

    transferRate: float | None = None
    transferredBytes: int | None = None
    timestamp: int | None = None
    task: Named | None = None


class TaskDetails(TaskListRecord, omit_defaults=True, kw_only=True):
    """All details of a task.

    `protectedEntities` and `instanceUuids` (their uuids on the hypervisor) are the machines that a
    SCOPED_INVENTORY_SYNC scans.  `cancelling` is true if the node has not finished its clean-up.
    The last three come with `extended=true`.
    """

    creationTime: int
    parentTask: Named | None = None
    restoreType: Label | None = None
    progressChange: int | None = None
    retryCount: int | None = None
    processedObjectCount: int | None = None
    totalObjectCount: int | None = None
    dstProtectedEntity: Named | None = None
    protectedEntitySnapshot: Named | None = None
    protectedEntities: list[Named] | None = None
    instanceUuids: list[str] | None = None
    storageProvider: Named | None = None
    cloudServiceProvider: Named | None = None
    osAgent: Named | None = None
    tapeManager: Named | None = None
    backup: Named | None = None
    mountedBackup: Named | None = None
    restoreJob: Named | None = None
    schedule: Named | None = None
    rule: Named | None = None
    restoreStorageId: str | None = None
    restoreClusterId: str | None = None
    restoreHostId: str | None = None
    restorePath: str | None = None
    restoredPeName: str | None = None
    restoreProject: str | None = None
    restoredDiskAllocationFormat: Label | None = None
    overwrite: bool | None = None
    mode: Label | None = None
    taskFiles: list[JsonObject] | None = None
    cbtId: str | None = None
    incSnapRequired: bool | None = None
    dataTransferRate: DataTransferRateDetails | None = None
    cancelling: bool | None = None
    followers: list[TaskListRecord] | None = None
    transferInfo: JsonObject | None = None
    transferHistory: list[DataTransferRateDetails] | None = None


class TaskStatus(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The state of a task; version 2 adds progress and guid."""

    state: Label
    statusInfo: str | None = None
    progress: float | None = None
    guid: str | None = None


class TaskBatchResponse(msgspec.Struct, omit_defaults=False, kw_only=True):
    """Result of a batch: accepted entities, refused entities with reasons, and the new tasks."""

    successful: list[Named]
    unsuccessful: list[Unsuccessful]
    tasks: list[TaskDetails]


class Unsuccessful(msgspec.Struct):
    """An entity that a batch refused, with the reason."""

    guid: str
    name: str
    message: str


class TimestampDTO(msgspec.Struct):
    """Time of the last task change (epoch ms), under both names that clients read."""

    value: int
    timestamp: int


class LogLine(msgspec.Struct):
    """A line of a task's log; `time` in epoch ms, `attempt` counts from 1, 0 before the first."""

    time: int
    attempt: int
    text: str


class NewState(msgspec.Struct):
    """The object form of a new state."""

    state: State
    statusInfo: str | None = None


class NewStates(msgspec.Struct):
    """UpdateTasksStateRequest."""

    state: State
    tasks: list[Ref]
    statusInfo: str | None = None
