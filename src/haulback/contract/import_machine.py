"""Request, order and result of IMPORT."""

from __future__ import annotations

import msgspec

from haulback.contract.machines import VirtualDisk
from haulback.contract.order_records import BackupDestination, BackupPlace, Hypervisor
from haulback.contract.restore import LocationRef
from haulback.contract.restores import Allocation
from haulback.wire import Ref


class TaskFile(msgspec.Struct):
    """Options for a file of the backup."""

    backupFile: Ref
    path: str | None = None
    diskName: str | None = None
    storageId: str | None = None
    excludedFromRestore: bool | None = None
    originalDiskGuid: str | None = None
    config: str | None = None
    markedForRestore: bool | None = None


class RestoredNetwork(msgspec.Struct):
    """The network and MAC address that a network card of the backup gets."""

    networkInterfaceCard: Ref
    network: Ref | None = None
    securityGroups: list[str] | None = None
    macAddress: str | None = None
    macAddressSpecified: bool | None = None


class DataCenter(msgspec.Struct):
    """Data center to restore to, by name."""

    name: str | None = None


class BaseImage(msgspec.Struct):
    """The image from which a machine is made; portals send an empty one."""

    uuid: str | None = None


class ImportMachineRequest(msgspec.Struct):
    """RestoreAndImportTaskRequest.

    Without `restoredDiskAllocationFormat` each disk is allocated as the original disk was.
    """

    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    restoreClusterId: str | None = None
    restoreStorageId: str | None = None
    restoreProject: str | None = None
    restoredPeName: str | None = None
    dataCenter: DataCenter | None = None
    baseImage: BaseImage | None = None
    restoredDiskAllocationFormat: Allocation | None = None
    overwrite: bool | None = None
    restoreToOriginalVolumeType: bool | None = None
    restoreVmFlavor: Ref | None = None
    taskFiles: list[TaskFile] | None = None
    restoredNetworks: list[RestoredNetwork] | None = None
    dstProtectedEntity: Ref | None = None
    tenantId: str | None = None
    powerOnAfterRestore: bool | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class NetworkCardChange(msgspec.Struct):
    """Network and MAC address of a card, by its number; "" keeps the old value."""

    number: int
    network: str = ""
    mac: str = ""


class ImportMachineOrder(msgspec.Struct):
    """The machine to create from a backup; an empty `name` keeps the machine's own.

    `replaces` is the platform uuid of the machine to overwrite, "" for none; `skip` are names of
    disks to leave out, `rename` new names of disks by their old names, `stores` storage pools by
    names of disks.  With a `share`, a mount, the machine runs from the mount at once.
    `others` are other locations of the backup.  `as_before` allocates each disk as the original
    disk was, `allocate` all disks.  `mark` names the task and its repetitions in the definition of
    the machine, "" for a task that is not repeated.
    """

    backup: str
    destination: BackupDestination
    hypervisor: Hypervisor
    name: str
    replaces: str = ""
    allocate: bool = False
    skip: list[str] = []
    rename: dict[str, str] = {}
    stores: dict[str, str] = {}
    power_on: bool = False
    cards: list[NetworkCardChange] = []
    share: str = ""
    others: list[BackupPlace] = []
    as_before: bool = False
    mark: str = ""


class ImportResult(msgspec.Struct):
    """The node's report: the restored machine."""

    uuid: str
    name: str
    disks: list[VirtualDisk] = []


def taken_name(asked: str, name: str, where: str) -> str:
    """The sentence about a machine whose name differs from the requested name."""
    return f"the name {asked} is taken on {where}: the restored machine is called {name}"
