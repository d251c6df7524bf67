"""SNAPSHOT on the node: take a snapshot of a machine on its platform."""

from __future__ import annotations

from haulback.contract.snapshot import SnapshotOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.work.context import PREFIX, Results, TaskContext, TaskWork


def run(job: TaskContext) -> Results:
    order: SnapshotOrder = job.order
    machines = capability(job.hypervisor(order.hypervisor), SnapshotKeeper)
    name = PREFIX + job.attempt
    with job.alone(order.hypervisor, order.uuid):
        job.confirm()
        now = job.now_ms()
        how = machines.take_snapshot(order.uuid, name)
        try:
            job.confirm()
        except BaseException:
            machines.remove_snapshots(order.uuid, {name})
            raise
    return {"uuid": name, "snapshotTime": now, "consistency": how}


WORK = TaskWork("SNAPSHOT", SnapshotOrder, run)
