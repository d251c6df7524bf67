"""Requests and answers about the server's own database: its backups, and the hold."""

from __future__ import annotations

from typing import Annotated

import msgspec

from haulback.contract.verify import UnknownBackup
from haulback.wire import Choice, Named

Slot = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class DatabaseCopyRequest(msgspec.Struct):
    """Request of a node for the copy that its EXPORT stores.

    `slot` (base64) is the secret of the repository's key file, sealed by the master key of the
    repository: a recovery kit, which holds the master key alone, opens the copy by it.
    """

    slot: Slot


class DatabaseBackupRequest(msgspec.Struct):
    """Request for a backup of the server's own database, by default to the only destination."""

    backupDestination: Choice | None = None


class DestinationHold(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A destination that keeps the server held.  Times in epoch ms.

    `copied` is the time of the restored copy of the database.  `lookedThrough` is the end of the
    VERIFY that compared the catalogue with the destination, absent before; `unknownBackups` is the
    number of backups there that the catalogue does not know, and `unknown` are the first of them:
    nothing deletes them.
    """

    destination: Named
    since: int
    copied: int
    reason: str
    lookedThrough: int | None = None
    unknownBackups: int | None = None
    unknown: list[UnknownBackup] = []


class ServerHold(msgspec.Struct):
    """Whether the server is held after the restore of its database, with each destination.

    A held server runs no schedule, and starts no task that deletes.
    """

    held: bool
    destinations: list[DestinationHold]
