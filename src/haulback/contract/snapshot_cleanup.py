"""Request, order and result of SNAPSHOT_CLEANUP."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Mark, Ref


class SnapshotCleanupRequest(msgspec.Struct, kw_only=True):
    """SnapshotsCleanupTaskRequest; `snapshots` are removed regardless of their retention rule."""

    protectedEntities: list[Ref] | None = None
    snapshots: list[Ref] | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotCleanupOrder(msgspec.Struct):
    """Snapshots of a machine, by their names on the platform."""

    uuid: str
    hypervisor: Hypervisor
    names: list[str]


class SnapshotCleanupResult(msgspec.Struct):
    """The node's report: names of removed snapshots."""

    removed: list[Mark] = []
