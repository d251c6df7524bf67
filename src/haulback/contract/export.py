"""Request, order and result of EXPORT."""

from __future__ import annotations

from typing import Literal

import msgspec

from haulback.contract.backups import BackupType
from haulback.contract.machines import EntityType, VirtualDisk
from haulback.contract.order_records import BackupDestination, Hypervisor, IncrementBase
from haulback.wire import Amount, Guid, JsonObject, Mark, Name, Ref


class ExportRequest(msgspec.Struct):
    """ExportTaskRequest; without rules and destination each machine's own policy decides."""

    protectedEntities: list[Ref]
    backupType: BackupType | None = None
    backupDestination: Ref | None = None
    rules: list[Ref] | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None
    retryCount: int | None = None
    protectedEntityType: EntityType | None = None
    async_: bool | None = msgspec.field(default=None, name="async")
    tenantId: str | None = None


class ExportOrder(msgspec.Struct):
    """The machine to read, and the base of the increment; `excluded` names disks to leave out.

    `wanted` is the requested type of backup, `no_base` the reason why the base was given up, if
    known.  `machine` is the name on the platform, `disks` are
    the disks of the last scan, `place` is the machine's folder on its platform.

    `before` and `after` are commands that the guest runs before and after the snapshot.
    """

    backup: str
    uuid: str
    entity: str
    hypervisor: Hypervisor
    destination: BackupDestination
    base: IncrementBase | None
    excluded: list[str] = []
    before: str = ""
    after: str = ""
    wanted: str = "FULL"
    machine: str = ""
    disks: list[VirtualDisk] = []
    place: str = ""
    no_base: str = ""


class FileSeen(msgspec.Struct):
    """A disk in an export, size in bytes."""

    name: Name
    size: Amount
    format: Name = "raw"


class ExportResult(msgspec.Struct):
    """The node's report: sizes in bytes, the checkpoint that the next increment may use."""

    type: Literal["FULL", "INCREMENTAL"]
    snapshotTime: Amount
    size: Amount
    read: Amount
    stored: Amount
    parent: Guid | None = None
    checkpoint: Mark | None = None
    cbtId: Mark | None = None
    files: list[FileSeen] = []
    definition: JsonObject = {}
    warnings: list[str] = []
    consistency: Literal["STOPPED", "APPLICATION", "CRASH"] | None = None
