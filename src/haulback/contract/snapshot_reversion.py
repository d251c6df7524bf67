"""Request, order and result of SNAPSHOT_REVERSION."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Amount, Mark, Ref


class SnapshotReversionRequest(msgspec.Struct, kw_only=True):
    """SnapshotReversionTaskRequest; either member names the snapshot."""

    snapshot: Ref | None = None
    protectedEntitySnapshot: Ref | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotReversionOrder(msgspec.Struct):
    """The machine, and the name of the snapshot on the platform."""

    uuid: str
    hypervisor: Hypervisor
    name: str


class SnapshotReversionResult(msgspec.Struct):
    """The node's report: `before` is the snapshot that keeps the previous state of the disks."""

    before: Mark
    snapshotTime: Amount
