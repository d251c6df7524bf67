"""Order and result of BACKUP_DESTINATION_INIT."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination


class DestinationInitOrder(msgspec.Struct):
    """Which destination."""

    destination: BackupDestination


class InitResult(msgspec.Struct):
    """What the node reports."""

    repository: str | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None
