"""Requests, order and result of INVENTORY_SYNC."""

from __future__ import annotations

from typing import Annotated

import msgspec

from haulback.contract.machines import VirtualDisk
from haulback.contract.order_records import Hypervisor
from haulback.wire import Amount, Name, Ref, Word


class Sources(msgspec.Struct, kw_only=True):
    """Members of both inventory requests, besides the hypervisors."""

    hypervisorManagers: list[Ref] | None = None
    storageProviders: list[Ref] | None = None
    cloudServiceProviders: list[Ref] | None = None
    osAgents: list[Ref] | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class InventorySyncRequest(Sources, kw_only=True):
    """InventorySyncTaskRequest; clients without anything to sync send empty arrays."""

    hypervisors: list[Ref] | None = None


class Candidate(msgspec.Struct):
    """A hypervisor in a request: a known hypervisor, or a new hypervisor that is saved if its scan
    succeeds.
    """

    guid: str | None = None
    name: str | None = None
    path: str | None = None
    url: str | None = None
    driver: str | None = None
    type: Word | None = None
    node: Ref | None = None


class InventorySyncWizardRequest(Sources, kw_only=True):
    """InventorySyncTaskRequest whose hypervisors need not be saved yet."""

    hypervisors: list[Candidate] | None = None


class PlatformResource(msgspec.Struct, kw_only=True):
    """A network or a storage pool of a platform; sizes of pools in bytes."""

    name: str
    uuid: str = ""
    total: int | None = None
    free: int | None = None


class ScannedNetworkCard(msgspec.Struct):
    """A network card of a machine in the inventory."""

    mac: str = ""
    network: str = ""


class ScannedUnprotectedPart(msgspec.Struct):
    """A part of a machine that backups leave out, with the reason."""

    name: str
    reason: str


class Hardware(msgspec.Struct):
    """A machine's network cards and tags, and the parts that backups leave out."""

    cards: list[ScannedNetworkCard] = []
    tags: list[str] = []
    apart: list[ScannedUnprotectedPart] = []


class InventorySyncOrder(msgspec.Struct):
    """The hypervisor to scan."""

    hypervisor: Hypervisor


class ScannedSnapshot(msgspec.Struct):
    """A snapshot of a machine, epoch ms."""

    name: Name
    time: Amount


class ReportedMachine(msgspec.Struct):
    """A machine of a scan; without `snapshots` the node cannot list the snapshots.

    `place` is the machine's location on its platform, in the form of `ScanFailure.where`.
    """

    uuid: str
    name: str
    disks: list[VirtualDisk] = []
    project: str | None = None
    present: bool = True
    snapshots: list[ScannedSnapshot] | None = None
    hardware: Hardware | None = None
    place: Annotated[str, msgspec.Meta(max_length=400)] | None = None


class ScanFailure(msgspec.Struct):
    """A machine that a node could not read: place, reason, and the uuid if known."""

    where: str
    message: str
    uuid: str = ""


class InventoryScan(msgspec.Struct):
    """The node's report of a scan; absent `networks` or `storages` are unknown.

    `gone` are requested uuids that the platform does not show.  `problems` counts the machines that
    could not be read, `unreadable` names them; nodes of earlier versions send the count alone.
    `shown` is the number of all machines if the scan was limited to a few.
    """

    machines: list[ReportedMachine]
    networks: list[PlatformResource] | None = None
    storages: list[PlatformResource] | None = None
    gone: list[str] = []
    problems: int = 0
    unreadable: list[ScanFailure] = []
    shown: Amount | None = None

    @property
    def unnamed(self) -> int:
        """Number of unreadable machines that the node did not name."""
        return max(0, self.problems - len(self.unreadable))
