"""Order and result of STORE."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.wire import Amount, Guid

# Member of the results of a STORE: true once its backup is stored, also when the task fails later.
PUBLISHED = "published"


class BackupVolume(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A file system of a backup; size in bytes.  `reason` says why it is unreadable."""

    name: str
    type: str
    size: int = 0
    label: str = ""
    uuid: str = ""
    readable: bool = True
    reason: str = ""
    path: str = ""  # mount path on the node
    features: list[str] = []


class StoreOrder(msgspec.Struct):
    """The backup to publish; `staging` names the attempt that exported.

    A store that keeps locks keeps the backup for `lock` ms at least.  `replaces` is the checkpoint
    of the present base, which becomes useless once this backup is stored.
    """

    backup: str
    uuid: str
    staging: str
    hypervisor: Hypervisor
    destination: BackupDestination
    lock: int = 0
    replaces: str = ""


class StoreResult(msgspec.Struct):
    """The node's report; sizes in bytes."""

    stored: Amount
    parent: Guid | None = None
    totalSpace: Amount | None = None
    freeSpace: Amount | None = None
    volumes: list[BackupVolume] | None = None
