"""SNAPSHOT on the node: take a snapshot of a machine on its platform."""

from __future__ import annotations

from haulback.contract.snapshot import SnapshotOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.work.context import PREFIX, Results, TaskContext, TaskWork


def run(context: TaskContext) -> Results:
    order: SnapshotOrder = context.order
    machines = capability(context.machines.open(order.hypervisor), SnapshotKeeper)
    name = PREFIX + context.attempt
    with context.machines.lock(order.hypervisor, order.uuid):
        context.progress.confirm()
        now = context.server.now_ms()
        how = machines.take_snapshot(order.uuid, name)
        try:
            context.progress.confirm()
        except BaseException:
            machines.remove_snapshots(order.uuid, {name})
            raise
    context.log(f"snapshot {name} was taken; consistency {how}")
    return {"uuid": name, "snapshotTime": now, "consistency": how}


WORK = TaskWork("SNAPSHOT", SnapshotOrder, run)
