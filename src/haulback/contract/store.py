"""Order and result of STORE."""

from __future__ import annotations

import msgspec

from haulback.inventory.records import BackupDestination, BackupVolume, Hypervisor
from haulback.wire import Amount, Guid


class StoreOrder(msgspec.Struct):
    """What to publish; `staging` names the attempt that exported."""

    backup: str
    uuid: str
    staging: str
    hypervisor: Hypervisor
    destination: BackupDestination


class Stored(msgspec.Struct):
    """What the node reports; bytes."""

    stored: Amount
    parent: Guid | None = None
    totalSpace: Amount | None = None
    freeSpace: Amount | None = None
    volumes: list[BackupVolume] | None = None
