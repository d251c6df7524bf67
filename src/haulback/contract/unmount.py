"""Request and order of UNMOUNT."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.wire import Ref


class UnmountRequest(msgspec.Struct, kw_only=True):
    """UnmountTaskRequest."""

    mountedBackup: Ref
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class UnmountOrder(msgspec.Struct):
    """The mount to end, and the hypervisor of a machine that may run from the mount."""

    mount: str
    hypervisor: Hypervisor | None = None
