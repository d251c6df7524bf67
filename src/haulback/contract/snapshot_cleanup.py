"""Request, order and result of SNAPSHOT_CLEANUP."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Mark, Ref


class SnapshotCleanupRequest(msgspec.Struct, kw_only=True):
    """SnapshotsCleanupTaskRequest; `snapshots` go whatever their rule says."""

    protectedEntities: list[Ref] | None = None
    snapshots: list[Ref] | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotCleanupOrder(msgspec.Struct):
    """Which snapshots of which machine, by their names there."""

    uuid: str
    hypervisor: Hypervisor
    names: list[str]


class SnapshotCleanupResult(msgspec.Struct):
    """What the node reports: names that are no longer there."""

    removed: list[Mark] = []
