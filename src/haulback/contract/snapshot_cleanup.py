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


class ReleaseRequest(msgspec.Struct, kw_only=True):
    """Machines whose checkpoints are released, so that their owner can work on their disks."""

    protectedEntities: list[Ref]
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotCleanupOrder(msgspec.Struct):
    """Snapshots of a machine, by their names on the platform.

    `release` removes all checkpoints of Haulback too.
    """

    uuid: str
    hypervisor: Hypervisor
    names: list[str]
    release: bool = False


class SnapshotCleanupResult(msgspec.Struct):
    """The node's report: names of removed snapshots, and of released checkpoints."""

    removed: list[Mark] = []
    released: list[Mark] = []
