"""Order and result of BACKUP_DESTINATION_INIT."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_probe import StoreProbe
from haulback.contract.order_records import BackupDestination


class DestinationInitOrder(msgspec.Struct):
    """The destination without a repository; a `family` supplies the master key of the new one."""

    destination: BackupDestination
    family: BackupDestination | None = None


class InitResult(msgspec.Struct):
    """The node's report: the guid of the repository, bytes of the destination, and its probe."""

    repository: str | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None
    probe: StoreProbe | None = None
