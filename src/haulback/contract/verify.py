"""Request, order and result of VERIFY."""

from __future__ import annotations

from typing import Annotated

import msgspec

from haulback.contract.damage import DamageReport
from haulback.contract.order_records import BackupDestination
from haulback.wire import Amount, Guid, Name, Ref


class VerifyRequest(msgspec.Struct):
    """Destinations to verify; without bounds all data is read once.

    `bytes` and `seconds` limit one task; the next task begins where it ended.
    """

    backupDestinations: list[Ref]
    bytes: int | None = None
    seconds: int | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class VerifyOrder(msgspec.Struct):
    """The packs to read: packs after `cursor` (hex), up to `bytes` and `seconds`.

    With `days` the task reads a share of the data, such that all data is read within this number of
    days. With `looked` the task reads the maps of backups from the backup after this guid.
    """

    destination: BackupDestination
    cursor: str = ""
    bytes: int | None = None
    seconds: int | None = None
    days: int | None = None
    looked: str = ""


class UnknownBackup(msgspec.Struct):
    """A stored backup that the catalogue does not know, with the machine that its manifest names.

    `snapshotTime` in epoch ms.
    """

    backup: Guid
    entity: Guid
    name: Name
    snapshotTime: Amount


class VerifyResult(msgspec.Struct):
    """The node's report: bytes and packs read, and whether the round is complete.

    `looked` is the backup after which the next task begins; "" if all backups were checked.
    `unknown` counts
    the backups that the catalogue does not know, `unknownBackups` are the first of them.
    """

    cursor: str = ""
    isRound: bool = False
    read: Amount = 0
    groups: Amount = 0
    backups: Amount = 0
    unknown: Amount = 0
    unknownBackups: Annotated[list[UnknownBackup], msgspec.Meta(max_length=1000)] = []
    strangers: Amount = 0
    looked: Annotated[str, msgspec.Meta(max_length=36)] = ""
    damage: DamageReport | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None
