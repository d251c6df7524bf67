"""Requests and answers about the server's own database: its backups, and the hold."""

from __future__ import annotations

from typing import Annotated

import msgspec

from haulback.wire import Choice

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
