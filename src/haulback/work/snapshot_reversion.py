"""SNAPSHOT_REVERSION on the node: revert a machine's disks to a snapshot."""

from __future__ import annotations

from haulback.contract.snapshot_reversion import SnapshotReversionOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.work.context import PREFIX, Results, TaskContext, TaskWork


def run(context: TaskContext) -> Results:
    order: SnapshotReversionOrder = context.order
    before = PREFIX + context.attempt
    with context.machines.lock(order.hypervisor, order.uuid):
        context.progress.confirm()
        now = context.server.now_ms()
        machines = capability(context.machines.open(order.hypervisor), SnapshotKeeper)
        machines.revert(order.uuid, order.name, before, context.attempt)
    context.log(f"the machine is as it was at the snapshot {order.name}")
    context.log(f"the previous state of the machine is kept as the snapshot {before}")
    return {"before": before, "snapshotTime": now}


WORK = TaskWork("SNAPSHOT_REVERSION", SnapshotReversionOrder, run)
