"""Request and order of RESTORE."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination, BackupPlace
from haulback.wire import JsonObject, Ref


class LocationRef(msgspec.Struct):
    """A backup location in a request; some clients name only the backup in it."""

    guid: str | None = None
    backup: Ref | None = None


class RestoreRequest(msgspec.Struct):
    """RestoreTaskRequest."""

    node: Ref
    restorePath: str
    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    storage: Ref | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class RestoreOrder(msgspec.Struct):
    """The backup to read; without a `path` the data is only checked.  `skip` are names of disks.

    `pointer` is true if the next task reads directly from the repository, so that only the manifest
    is checked here. `files` are the disks of the backup: name, size in bytes, format.  `others` are
    other locations of the backup, which supply data that this location cannot deliver.
    """

    backup: str
    destination: BackupDestination
    path: str | None = None
    skip: list[str] = []
    pointer: bool = False
    files: list[JsonObject] = []
    others: list[BackupPlace] = []
