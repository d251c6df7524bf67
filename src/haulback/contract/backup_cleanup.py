"""Request, order and result of BACKUP_CLEANUP."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination
from haulback.contract.space import SpaceUsage
from haulback.wire import Ref


class BackupCleanupRequest(msgspec.Struct):
    """BackupCleanupTaskRequest."""

    backupDestinations: list[Ref]
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class BackupCleanupOrder(msgspec.Struct):
    """Backups to remove; the destination grants deletion.

    `given_up` are missing backups whose loss a user has confirmed.
    """

    destination: BackupDestination
    backups: list[str]
    given_up: list[str] = []


class RemovalResult(msgspec.Struct):
    """The node's report of a removal: removed backups, and bytes of the destination.

    `givenUp` are backups whose loss was confirmed and that were not found.
    """

    removed: list[str] = []
    givenUp: list[str] = []
    totalSpace: int | None = None
    freeSpace: int | None = None


class BackupCleanupResult(RemovalResult):
    """The node's report of a clean-up; `usage` is the space of the repository by machine."""

    usage: SpaceUsage | None = None
