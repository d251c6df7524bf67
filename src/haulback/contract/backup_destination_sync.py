"""Order and result of BACKUP_DESTINATION_SYNC: copies, or the catalogue of a destination."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination, Owner
from haulback.wire import Amount, Guid


class WantedCopy(msgspec.Struct, omit_defaults=True):
    """A copy to make: `backup` is its guid on the destination, `source` the guid of the backup to
    copy.

    `older` is an older backup of the machine on the destination.  `heals` is true if the copy
    exists but lacks data, which the source supplies.  A store that keeps locks keeps the copy for
    `lock` ms.
    """

    backup: str
    source: str
    older: str | None = None
    heals: bool = False
    lock: int = 0


class DestinationSyncOrder(msgspec.Struct):
    """The order of copies: `copies` are made from `source`, older backups first.

    Without a `source` the node reads the catalogue of `destination` for the server `reader`, which
    becomes the owner if `takeOver` is set; `revoked` says that the deleting credential of the old
    owner was revoked.  `rate` limits the copying in bytes per second.  The key of the destination
    `family` also opens this destination, at the latest after the task.
    """

    destination: BackupDestination
    source: BackupDestination | None = None
    copies: list[WantedCopy] = []
    rate: int | None = None
    reader: Owner | None = None
    takeOver: bool = False
    revoked: bool = False
    family: BackupDestination | None = None


class CopiedBackup(msgspec.Struct, omit_defaults=True):
    """A finished copy; `stored` in bytes, `parent` is the parent backup on the target destination.

    `lacks` is true if the copy still lacks data that no location supplies.
    """

    backup: Guid
    stored: Amount
    parent: Guid | None = None
    lacks: bool = False


class DestinationSyncResult(msgspec.Struct):
    """The node's report: finished copies, and whether their data was sealed with another key.

    A task that read the catalogue reports the guid of the `repository`, the number of `backups`
    there, the number of backups that were new to the catalogue (`added`), the number that an
    extract names but the destination lacks (`lost`), and `extractTime` (epoch ms), the time of the
    newest extract, 0 without one.
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
