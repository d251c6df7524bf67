"""Request and order of LIVE_MIGRATION."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Ref


class LiveMigrationRequest(msgspec.Struct, kw_only=True):
    """LiveMigrationTaskRequest."""

    mountedBackup: Ref | None = None
    protectedEntity: Ref | None = None
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    restoreClusterId: str | None = None
    restoreStorageId: str | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class LiveMigrationOrder(msgspec.Struct):
    """The machine, its hypervisor, and the target hypervisor; if both are equal, the disks are
    moved off the mounted backup.
    """

    uuid: str
    hypervisor: Hypervisor
    to: Hypervisor
