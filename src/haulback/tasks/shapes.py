"""Tasks as the contract shows them.  What is absent is left out, never null.

Times are epoch milliseconds, durations milliseconds, sizes bytes, progress percent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.wire import Label, Named


class Workflow(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The plan a task belongs to."""

    guid: str
    commonContext: dict[str, Any]
    tasks: list[Step] = []


class Step(msgspec.Struct, omit_defaults=True):
    """A task of a plan; followers are PLANNED until their turn."""

    guid: str
    type: Label
    state: Label


class TaskListRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A row of GET /tasks.

    `queueReason` and `queuePosition` say why a queued task waits and how many go before it.
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
    """A sample of how fast it goes: bytes per second, bytes so far; empty before the first."""

    transferRate: float | None = None
    transferredBytes: int | None = None
    timestamp: int | None = None
    task: Named | None = None


class TaskDetails(TaskListRecord, omit_defaults=True, kw_only=True):
    """Everything about a task.

    `protectedEntities` and `instanceUuids` (their uuids on the hypervisor) are the machines that a
    SCOPED_INVENTORY_SYNC looks at.  `cancelling` says that its node has still to clean up.  The
    last three come with `extended=true`.
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
    taskFiles: list[dict[str, Any]] | None = None
    cbtId: str | None = None
    incSnapRequired: bool | None = None
    dataTransferRate: DataTransferRateDetails | None = None
    cancelling: bool | None = None
    followers: list[TaskListRecord] | None = None
    transferInfo: dict[str, Any] | None = None
    transferHistory: list[DataTransferRateDetails] | None = None


class TaskStatus(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The state of a task; progress and guid in version 2 only."""

    state: Label
    statusInfo: str | None = None
    progress: float | None = None
    guid: str | None = None


class TaskBatchResponse(msgspec.Struct, omit_defaults=False, kw_only=True):
    """What of a batch was accepted, what refused and why, and the tasks that were made."""

    successful: list[Named]
    unsuccessful: list[Unsuccessful]
    tasks: list[TaskDetails]


class Unsuccessful(msgspec.Struct):
    """An entity that was refused."""

    guid: str
    name: str
    message: str


class TimestampDTO(msgspec.Struct):
    """When any task last changed, twice under the two names that clients read."""

    value: int
    timestamp: int


class LogLine(msgspec.Struct):
    """A line of a task's log."""

    time: int
    attempt: int
    text: str
