"""Request and order of CONNECTIVITY_TEST."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_probe import StoreProbe
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.wire import Ref


class ConnectivityTestRequest(msgspec.Struct):
    """ConnectivityTestTaskRequest: names at least one object."""

    hypervisors: list[Ref] | None = None
    hypervisorManagers: list[Ref] | None = None
    backupDestinations: list[Ref] | None = None
    storageProviders: list[Ref] | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class ConnectivityTestOrder(msgspec.Struct):
    """The hypervisor or the destination to test."""

    hypervisor: Hypervisor | None = None
    destination: BackupDestination | None = None


class ConnectivityTestResult(msgspec.Struct):
    """The node's report: the results of the probe of a destination's store."""

    reachable: bool = True
    probe: StoreProbe | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None
