"""Requests of /policies/recovery-plan."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.contract.records import PolicyRecord
from haulback.contract.restores import Allocation
from haulback.wire import Ref


class Selection(Enum):
    """The backup that a recovery plan restores."""

    LAST_SUCCESSFUL = "LAST_SUCCESSFUL"
    ANY = "ANY"


class RecoveryRule(msgspec.Struct, kw_only=True):
    """A rule of a recovery plan: machines, restore target, order and options.

    Rules with a lower `order` start first.  `prefix` and `suffix` are added to the machine names.
    A rule keeps its `guid` as long as it keeps its name.
    """

    guid: str = ""
    name: str
    protectedEntities: list[Ref]
    active: bool = True
    order: int = 0
    backupSelection: Selection = Selection.LAST_SUCCESSFUL
    hypervisor: Ref | None = None
    hypervisorManager: Ref | None = None
    restoreStorageId: str | None = None
    restoreClusterId: str | None = None
    restoreProject: str | None = None
    restoredDiskAllocationFormat: Allocation | None = None
    overwrite: bool = False
    powerOnAfterRestore: bool = False
    prefix: str = ""
    suffix: str = ""


class RecoveryPlan(PolicyRecord, kw_only=True):
    """A recovery plan: rules in their order.

    `schedules` are those that run the plan, of the type VM_RESTORE; absent: they stay.
    """

    active: bool = True
    priority: int = 50
    description: str = ""
    backupRetryCount: int = 0
    schedules: list[Ref] | None = None
    rules: list[RecoveryRule] = []
