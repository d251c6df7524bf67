"""Request, order and result of SNAPSHOT."""

from __future__ import annotations

from typing import Literal

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Amount, Mark, Ref


class SnapshotRequest(msgspec.Struct, kw_only=True):
    """SnapshotTaskRequest; the rule sets the retention; without a rule the snapshot is kept."""

    protectedEntities: list[Ref]
    rule: Ref | None = None
    description: str | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotOrder(msgspec.Struct):
    """The machine to take a snapshot of."""

    uuid: str
    hypervisor: Hypervisor


class SnapshotResult(msgspec.Struct):
    """The node's report: the name on the platform, and the consistency."""

    uuid: Mark
    snapshotTime: Amount
    consistency: Literal["STOPPED", "APPLICATION", "CRASH"] | None = None
