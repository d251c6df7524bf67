"""Request, order and result of REPAIR."""

from __future__ import annotations

import msgspec

from haulback.contract.damage import DamageReport
from haulback.contract.order_records import BackupDestination
from haulback.wire import Amount, Ref


class RepairRequest(msgspec.Struct):
    """Destinations to repair; without `apply` the log lists the actions and nothing is changed.

    With `believe` a user confirms that an unusually large part really is damaged.
    """

    backupDestinations: list[Ref]
    apply: bool = False
    believe: bool = False
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class RepairOrder(msgspec.Struct):
    """The destination to repair; the order grants deletion if the repair is applied.

    The key of the destination `family` also opens the repository, at the latest after the repair.
    """

    destination: BackupDestination
    apply: bool
    believe: bool
    family: BackupDestination | None = None


class RepairResult(msgspec.Struct):
    """The node's report: actions that were or would be carried out, and objects moved aside."""

    actions: list[str] = []
    aside: list[str] = []
    losses: Amount = 0
    damage: DamageReport | None = None
