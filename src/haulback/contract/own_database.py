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
    repository: thus a recovery kit, which holds only the master key, opens the copy.
    """

    slot: Slot


class DatabaseBackupRequest(msgspec.Struct):
    """Request for a backup of the server's own database; the default is the only destination of the
    server.
    """

    backupDestination: Choice | None = None


class DestinationHold(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A destination that keeps the server held.  Times in epoch ms.

    `copied` is the time of the restored copy of the database.  `lookedThrough` is the end of the
    VERIFY that compared the catalogue with the destination, absent before that; `unknownBackups` is
    the number of backups on the destination that the catalogue does not know, and `unknown` lists
    the first of these backups. No task deletes these backups.
    """

    destination: Named
    since: int
    copied: int
    reason: str
    lookedThrough: int | None = None
    unknownBackups: int | None = None
    unknown: list[UnknownBackup] = []


class ServerHold(msgspec.Struct):
    """The hold of a server whose database was restored, with the destinations that wait for a
    VERIFY.

    A held server runs no schedule, and starts no task that deletes.
    """

    held: bool
    destinations: list[DestinationHold]
