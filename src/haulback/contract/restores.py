"""Answers of /restore-jobs, and the allocation formats of restored disks."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.wire import JsonObject, Label, Named


class Allocation(Enum):
    """Allocation formats of restored disks."""

    PREALLOCATED = "PREALLOCATED"
    SPARSE = "SPARSE"


class RestoreJobRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A restore job; times in epoch ms."""

    guid: str
    restoreTime: int
    restoreType: Label
    status: Label
    protectedEntity: Named
    backup: JsonObject
    taskTimeStats: dict[str, int]
    statusInfo: str | None = None
    finishTime: int | None = None
    target: JsonObject | None = None
