"""Order and result of STAGING_CLEANUP."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.wire import Amount, Guid, Name


class StagingCleanupOrder(msgspec.Struct):
    """Hypervisors and destinations to clean besides the node's own folders."""

    hypervisors: list[Hypervisor]
    destinations: list[BackupDestination]


class StagingCleanupResult(msgspec.Struct):
    """The node's report: times (epoch ms) of snapshots by hypervisor, machine and name."""

    held: dict[Guid, dict[Name, dict[Name, Amount]]] = {}
