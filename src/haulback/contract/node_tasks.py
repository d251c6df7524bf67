"""Requests of a node about the task that the node runs: progress, transfer rates, inventories."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.wire import Ref, Word


class DoubleDTO(msgspec.Struct):
    """Percent done."""

    value: float


class StringDTO(msgspec.Struct):
    """A text."""

    value: str


class DataTransferRateRequest(msgspec.Struct):
    """Bytes per second, bytes, epoch ms."""

    transferRate: float
    transferredBytes: int | None = None
    timestamp: int | None = None


class UpdateTaskProgressRequest(msgspec.Struct):
    """Progress counted in objects."""

    processedObjectCount: int
    totalObjectCount: int
    progress: float | None = None


class UpdateCbtTaskRequest(msgspec.Struct):
    """The checkpoint of a task; `guid` and `taskGuid` name the task too."""

    cbtId: str
    task: Ref | None = None
    guid: str | None = None
    taskGuid: str | None = None


class UpdateIncSnapRequired(msgspec.Struct):
    """Whether the export has to leave a snapshot."""

    incSnapRequired: bool
    task: Ref | None = None
    guid: str | None = None
    taskGuid: str | None = None


class TapeManagerInventoryRequest(msgspec.Struct):
    """The contents of a tape manager."""

    tapeManager: Ref | None = None
    task: Ref | None = None
    tapeLibraries: list[dict[str, Any]] | None = None
    tapes: list[dict[str, Any]] | None = None


class FullInventory(msgspec.Struct):
    """FullInventoryRequest, what of it this server keeps."""

    type: Word
    task: Ref | None = None
    hypervisor: Ref | None = None
    virtualMachines: list[dict[str, Any]] | None = None


class OneInventory(msgspec.Struct):
    """InstanceScopedInventoryRequest."""

    protectedEntity: Ref | None = None
    task: Ref | None = None
    instance: dict[str, Any] | None = None
