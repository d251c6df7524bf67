"""Order and result of BACKUP_DESTINATION_SYNC: copies, or the catalogue of a destination."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination, Owner
from haulback.wire import Amount, Guid


class WantedCopy(msgspec.Struct, omit_defaults=True):
    """A copy to make: `backup` is its guid on the destination, `source` the guid of its origin.

    `older` is an older backup of the machine on the destination.  `heals`: the copy exists and
    lacks data, which the origin supplies.  A store that keeps locks keeps the copy for `lock` ms.
    """

    backup: str
    source: str
    older: str | None = None
    heals: bool = False
    lock: int = 0


class DestinationSyncOrder(msgspec.Struct):
    """The order: with a `source` the `copies` are made from there, older backups first.

    Without a `source` the catalogue of `destination` is read by the server `reader`, which becomes
    the owner with `takeOver`; `revoked` says that the deleting credential of the old owner was
    revoked.  `rate` limits the copying in bytes per second.
    """

    destination: BackupDestination
    source: BackupDestination | None = None
    copies: list[WantedCopy] = []
    rate: int | None = None
    reader: Owner | None = None
    takeOver: bool = False
    revoked: bool = False


class CopiedBackup(msgspec.Struct, omit_defaults=True):
    """A finished copy; `stored` in bytes, `parent` the backup there that the copy builds on.

    `lacks`: the copy still lacks data that no location supplies.
    """

    backup: Guid
    stored: Amount
    parent: Guid | None = None
    lacks: bool = False


class DestinationSyncResult(msgspec.Struct):
    """The node's report: finished copies, and whether their data was sealed with another key.

    A task that read the catalogue reports the guid of the `repository`, the number of `backups`
    there, how many of them were new to the catalogue (`added`), how many `lost` ones an extract
    names, and `extractTime` (epoch ms), the time of the newest extract, 0 without one.
    """

    copied: list[CopiedBackup] = []
    sealedAnew: bool = False
    repository: Guid | None = None
    backups: Amount = 0
    added: Amount = 0
    lost: Amount = 0
    extractTime: Amount = 0
    totalSpace: Amount | None = None
    freeSpace: Amount | None = None
