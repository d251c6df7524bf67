"""Request and order of RESTORE."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.contract.order_records import BackupDestination
from haulback.wire import Ref


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
    """What to read; without a `path` only whether it can be read.  `skip` are names of disks.

    `pointer`: what follows reads straight from the repository, so only whether it is there.
    `files` are the disks of the backup: name, size in bytes, format.
    """

    backup: str
    destination: BackupDestination
    path: str | None = None
    skip: list[str] = []
    pointer: bool = False
    files: list[dict[str, Any]] = []
