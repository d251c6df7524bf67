"""Request, order and result of SNAPSHOT."""

from __future__ import annotations

from typing import Literal

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Amount, Mark, Ref


class SnapshotRequest(msgspec.Struct, kw_only=True):
    """SnapshotTaskRequest; the rule says how long it stays, without one until it is removed."""

    protectedEntities: list[Ref]
    rule: Ref | None = None
    description: str | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotOrder(msgspec.Struct):
    """Of which machine."""

    uuid: str
    hypervisor: Hypervisor


class SnapshotResult(msgspec.Struct):
    """What the node reports: the name on the platform, and how consistent it is."""

    uuid: Mark
    snapshotTime: Amount
    consistency: Literal["STOPPED", "APPLICATION", "CRASH"] | None = None
