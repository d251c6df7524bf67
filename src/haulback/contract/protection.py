"""Protection of machines: states, counts, and the machines of a state.  Times in epoch ms."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.wire import Label, Named


class ProtectionState(Enum):
    """Protection of a machine; each machine is in exactly one of these states."""

    PROTECTED = "PROTECTED"  # the machine's last good backup is within the policy's RPO
    LATE = "LATE"  # the machine's last good backup is older than the RPO
    FAILING = "FAILING"  # within the RPO, but the machine's last backup failed
    NEVER = "NEVER"  # the machine has a policy and no good backup
    UNASSIGNED = "UNASSIGNED"  # no active backup policy covers the machine


class ProtectionCounts(msgspec.Struct, kw_only=True):
    """Numbers of machines by state; their sum is `total`.

    Absent machines count as long as they have an active backup policy.
    """

    total: int
    protected: int
    late: int
    failing: int
    never: int
    unassigned: int


class MachineProtection(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The protection of a machine, in its state since `since`.

    `lastBackup` is the time of its last good backup, `rpo` the age in ms that its policy allows,
    `dueAt` the time at which the machine becomes late.
    """

    guid: str
    name: str
    state: Label
    present: bool
    since: int | None = None
    policy: Named | None = None
    lastBackup: int | None = None
    rpo: int | None = None
    dueAt: int | None = None
