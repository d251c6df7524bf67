"""Request and order of UPLOAD."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Ref


class UploadRequest(msgspec.Struct, kw_only=True):
    """UploadFilesRequest; besides, of which file system (of several), and into which machine.

    They keep their paths below `destinationPath`; without one they come back to where they were.
    """

    mountedBackup: Ref
    paths: list[str]
    destinationPath: str | None = None
    mountedFileSystem: Ref | None = None
    protectedEntity: Ref | None = None
    node: Ref | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class UploadOrder(msgspec.Struct):
    """Which files of what is shared, and into which folder of which machine."""

    mount: str
    volume: str
    paths: list[str]
    folder: str
    uuid: str
    hypervisor: Hypervisor
