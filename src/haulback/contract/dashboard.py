"""Answers of /dashboard."""

from __future__ import annotations

import msgspec

from haulback.wire import Named


class Protection(msgspec.Struct):
    """Numbers of machines: protected, not protected, without a policy; each counted once.

    Protected: the state PROTECTED, and machines without a policy that have a backup.  Not
    protected: LATE, FAILING and NEVER.  `noSchedule`: neither a policy nor a backup.  GET
    /protection counts the states.
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

    `totalUsedSpace` are the bytes of the repository's backups, `totalAvailableSpace` its capacity:
    used bytes and free bytes of the disk, once a node has seen the disk.  `diskUsedSpace` of
    `diskTotalSpace` includes the other files of the disk.
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
