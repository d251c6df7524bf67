"""Requests of a node about the task that the node runs: progress, transfer rates, inventories."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.contract.import_machine import TaskFile
from haulback.wire import JsonObject, Named, Ref, Word

# Member of the results of a failed task: the guid of the destination that did not answer the node.
AWAY = "awayDestination"
# Member of the results of a task that reads a backup: a ReadFrom.
READ = "readFrom"


class SourceLocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The location of a backup that a task has read; empty if an earlier attempt read the
    location.
    """

    backup: str | None = None
    destination: Named | None = None


class DoubleDTO(msgspec.Struct):
    """Progress of a task, percent."""

    value: float


class StringDTO(msgspec.Struct):
    """A text value."""

    value: str


class DataTransferRateRequest(msgspec.Struct):
    """A transfer rate sample: bytes per second, bytes so far, time in epoch ms."""

    transferRate: float
    transferredBytes: int | None = None
    timestamp: int | None = None


class UpdateTaskProgressRequest(msgspec.Struct):
    """Progress counted in objects."""

    processedObjectCount: int
    totalObjectCount: int
    progress: float | None = None


class UpdateCbtTaskRequest(msgspec.Struct):
    """The checkpoint of a task; a request names the task by `task`, `guid` or `taskGuid`."""

    cbtId: str
    task: Ref | None = None
    guid: str | None = None
    taskGuid: str | None = None


class UpdateIncSnapRequired(msgspec.Struct):
    """Whether the export must leave a snapshot on the platform; a request names the task by `task`,
    `guid` or `taskGuid`.
    """

    incSnapRequired: bool
    task: Ref | None = None
    guid: str | None = None
    taskGuid: str | None = None


class TapeManagerInventoryRequest(msgspec.Struct):
    """The contents of a tape manager."""

    tapeManager: Ref | None = None
    task: Ref | None = None
    tapeLibraries: list[JsonObject] | None = None
    tapes: list[JsonObject] | None = None


class FullInventory(msgspec.Struct):
    """The inventory of a whole hypervisor (FullInventoryRequest); unknown members are ignored."""

    type: Word
    task: Ref | None = None
    hypervisor: Ref | None = None
    virtualMachines: list[JsonObject] | None = None


class OneInventory(msgspec.Struct):
    """The inventory of one machine (InstanceScopedInventoryRequest)."""

    protectedEntity: Ref | None = None
    task: Ref | None = None
    instance: JsonObject | None = None


class TaskFilesListRequest(msgspec.Struct):
    """The files of a task; the list replaces the earlier files of the task."""

    taskFiles: list[TaskFile]


class TransferInfoRequest(msgspec.Struct, omit_defaults=True):
    """Results of a task; an open object, of which these members are known."""

    transferredBytes: int | None = None
    totalBytes: int | None = None
    transferRate: float | None = None
    files: list[Any] | None = None
    dataTransferRate: DataTransferRateRequest | None = None
    taskFiles: list[TaskFile] | None = None
    cbtId: str | None = None
    incSnapRequired: bool | None = None
    restoreHostId: str | None = None
    restoreStorageId: str | None = None
    processedObjectCount: int | None = None
    totalObjectCount: int | None = None
