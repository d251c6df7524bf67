"""Request of an instant restore."""

from __future__ import annotations

from haulback.contract.import_machine import RestoredNetwork, TaskFile
from haulback.contract.mount import MountRequest as Share
from haulback.wire import Ref


class InstantRestoreRequest(Share, kw_only=True):
    """InstantRestoreTaskRequest; without an `unmountTime` the mount does not end."""

    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    restoreClusterId: str | None = None
    restoreStorageId: str | None = None
    restoredPeName: str | None = None
    restoreVmFlavor: Ref | None = None
    restoredNetworks: list[RestoredNetwork] | None = None
    taskFiles: list[TaskFile] | None = None
    overwrite: bool | None = None
