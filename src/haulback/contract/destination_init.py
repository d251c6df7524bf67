"""Order and result of BACKUP_DESTINATION_INIT."""

from __future__ import annotations

import msgspec

from haulback.contract.destination_probe import StoreProbe
from haulback.contract.order_records import BackupDestination


class DestinationInitOrder(msgspec.Struct):
    """The destination without a repository; a `family` supplies the master key of the new one.

    `others` are the names of the server's other destinations by the guids of their repositories.
    """

    destination: BackupDestination
    family: BackupDestination | None = None
    others: dict[str, str] = {}


class InitResult(msgspec.Struct):
    """The node's report: the guid of the repository, the number of its backups, bytes of the
    destination, and its probe.
    """

    repository: str | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None
    probe: StoreProbe | None = None
    backups: int | None = None
