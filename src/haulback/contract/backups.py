"""Requests and answers of /backups: backups, their locations, files and proofs, and marks.

Times are epoch milliseconds, sizes bytes.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from haulback.wire import JsonObject, Label, Named, Ref


class BackupType(Enum):
    """Backup types."""

    FULL = "FULL"
    INCREMENTAL = "INCREMENTAL"
    SYNCHRONIZATION = "SYNCHRONIZATION"
    SYNTHETIC = "SYNTHETIC"


class Hint(Enum):
    """Retention hint of a backup: overrides its age."""

    STANDARD_RETENTION = "STANDARD_RETENTION"
    TO_REMOVE = "TO_REMOVE"
    ARCHIVE = "ARCHIVE"


class Location(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A location of a backup on a destination; `damage` as in `damage.BackupDamage`.

    `backupRule` is the rule whose retention applies to the location, absent for a manual backup;
    `lockUntil` (epoch ms) is the end of the retention lock that was set when the location was
    stored; `level` is the highest level of proof of its data, `storedSize` the bytes that the
    location added.
    """

    guid: str
    backup: Named
    backupDestination: Named
    roleType: Label
    status: Label
    retentionHint: Label
    type: Label
    snapshotTime: int | None = None
    archiveExpire: int | None = None
    backupRule: Ref | None = None
    lockUntil: int | None = None
    statusInfo: str | None = None
    damage: JsonObject | None = None
    level: Label | None = None
    storedSize: int | None = None


class MarkPreview(Location, omit_defaults=True, kw_only=True):
    """A location with the hint that a request would set, and with its present hint.

    `toBeRemoved` is true if the next clean-up of the destination would remove the backup; `reason`
    is why this clean-up keeps or removes the backup.
    """

    previousHint: Label
    previousType: Label
    toBeRemoved: bool
    reason: str | None = None
    previousArchiveExpire: int | None = None


class BackupRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A backup; times in epoch ms, sizes in bytes."""

    guid: str
    name: str
    protectedEntity: Named
    type: Label
    status: Label
    backupTime: int
    size: int
    transferredSize: int
    storedSize: int
    hidden: bool
    warnings: list[str]
    warningsPresent: bool
    warningsAcknowledged: bool
    backupLocations: list[Location]
    taskTimeStats: dict[str, int]
    iscsiMountable: bool
    networkInterfaceCards: list[JsonObject]
    statusInfo: str | None = None
    snapshotTime: int | None = None
    taskDurationTime: int | None = None
    description: str | None = None
    parentBackup: Named | None = None
    originEntity: JsonObject | None = None
    backupRule: Named | None = None
    archiveExpire: int | None = None
    level: Label
    consistency: Label | None = None


class Proof(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The proof that a backup boots.

    `evidence` is the signed text (JSON); `signature` and `publicKey` are Ed25519 in base64; `valid`
    tells whether this server signed the evidence.
    """

    level: Label
    time: int
    evidence: str
    signature: str
    publicKey: str
    valid: bool


class File(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A restorable file of a backup: one disk.  `size` in bytes, `backupTime` in epoch ms."""

    guid: str
    path: str
    originalPath: str
    objectName: str
    size: int
    mountable: bool
    iscsiMountable: bool
    encryption: int
    backup: Named
    backupFileType: Label
    format: Label
    locations: list[Named]
    vmDisk: JsonObject
    backupTime: int | None = None
    storageId: str | None = None


class TextValue(msgspec.Struct):
    """A text value (StringDTO)."""

    value: str


class FlagValue(msgspec.Struct):
    """A boolean value."""

    value: bool


class MarkedLocation(msgspec.Struct):
    """A location as portals send it back, with the new hint.

    `guid` is the guid of the location or, as one portal sends, of its backup; `archiveExpire` is
    epoch ms or a date in ISO 8601, and counts with ARCHIVE alone.
    """

    guid: str
    retentionHint: Hint
    backup: Ref | None = None
    archiveExpire: Any = None


class Marks(msgspec.Struct):
    """Retention hint for backup locations; `archiveExpire` (epoch ms) may end an ARCHIVE."""

    backupLocations: list[Ref]
    retentionHint: Hint
    archiveExpire: int | None = None
