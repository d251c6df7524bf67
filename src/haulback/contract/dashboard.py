"""Answers of /dashboard."""

from __future__ import annotations

import msgspec

from haulback.wire import Named


class Protection(msgspec.Struct):
    """How many present machines are protected, are not, and have no schedule; no one counts twice.

    Protected: the last backup is at most 24 hours old, or no schedule asks for a newer one.
    `noSchedule`: no schedule applies, and there is no backup.
    """

    protectedNo: int
    notProtected: int
    noSchedule: int


class BackupStats(msgspec.Struct):
    """Backups of the last day by state; `totalData` is the stored data as text with its unit."""

    successful: int
    failed: int
    inProgress: int
    queued: int
    totalData: str


class StagingSpace(msgspec.Struct):
    """Space of a node's staging area, bytes."""

    node: Named
    totalSpace: int
    availableSpace: int
    usedSpace: int


class DestinationSpace(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Bytes of one destination.

    `totalUsedSpace` is what the repository's backups take, `totalAvailableSpace` its capacity:
    that and what is free on the disk, where a node has seen the disk.  The disk holds other
    things besides: `diskUsedSpace` of `diskTotalSpace`.
    """

    guid: str
    name: str
    totalUsedSpace: int
    totalAvailableSpace: int
    diskTotalSpace: int | None = None
    diskUsedSpace: int | None = None


class DestinationStats(msgspec.Struct, kw_only=True):
    """Bytes of all destinations, used and capacity."""

    totalUsedSpace: int
    totalAvailableSpace: int
    backupDestinations: list[DestinationSpace]


class SizeStats(msgspec.Struct, kw_only=True):
    """Bytes by day (epoch ms of its beginning, UTC), every day of the span, the oldest first."""

    backupSizeStatsResponses: dict[str, int]
    restoreSizeStatsResponses: dict[str, int]
