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
    """Which machine, and the name of the snapshot there."""

    uuid: str
    hypervisor: Hypervisor
    name: str


class Reverted(msgspec.Struct):
    """What the node reports: what the disks were before is the snapshot `before`."""

    before: Mark
    snapshotTime: Amount
