"""Request and order of UPLOAD."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Ref


class UploadRequest(msgspec.Struct, kw_only=True):
    """UploadFilesRequest, with the file system (of several) and the machine to copy into.

    Files keep their paths below `destinationPath`; without it they return to their original paths.
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
    """Files of a mount, and the folder of the machine to copy them into."""

    mount: str
    volume: str
    paths: list[str]
    folder: str
    uuid: str
    hypervisor: Hypervisor
